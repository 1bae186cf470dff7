"""Source models, loaded as TensorFlow functions with named inputs and outputs."""
