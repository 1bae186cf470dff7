"""Estimators as TFLite files of builtin operations alone, made of their ONNX graphs, without TensorFlow."""
