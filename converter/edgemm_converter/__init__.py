"""Trained Keras model → verified bundle, on a workstation."""
