"""Conversion of a loaded source to TFLite and ONNX files, in a child process."""
