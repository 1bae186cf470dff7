"""Readers of model files: the structure and the facts of TFLite and ONNX files."""
