"""The inputs and answers of `POST /predict`: JSON, CSV, images and forms."""
