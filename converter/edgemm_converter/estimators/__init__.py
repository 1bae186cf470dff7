"""Estimators as sources: models of scikit-learn, XGBoost and LightGBM, opened, run and written as ONNX."""
