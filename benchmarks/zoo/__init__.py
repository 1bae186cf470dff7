"""The model zoo: 97 models through edgemm and through the routes of today."""
