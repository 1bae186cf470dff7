"""The TFLite variants of estimators."""
