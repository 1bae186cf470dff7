"""The user's data as arrays: calibration and evaluation sets, images, tables, labels, pre-processing."""
