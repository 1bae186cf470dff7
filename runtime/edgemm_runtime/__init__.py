"""Bundle → predictions and telemetry, on a device. Never TensorFlow."""
