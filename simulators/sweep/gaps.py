"""What of Keras an engine has no operation for, with the reason that a user of the converter finds.

A case in `REFUSED` must be refused: where it answers right, or wrong, the sweep fails.
"""

from __future__ import annotations

from collections.abc import Mapping

_DECOMPOSITION = "no engine decomposes matrices: compute it before the model"
_BITS = "ONNX has no operation that takes the bits of a float for an integer's"
_LENGTH = "the length of its output depends on data"
_INT64 = "TFLite divides and shifts integers of 32 bits at most"
_NEXT = "no engine steps to the next float"
_TENSOR_LISTS = "tf2onnx writes lists of tensors only in the form in which Keras' recurrent layers use them"
_OPEN_SIZE = "the image is padded to a size that is known at run time alone, which no engine resizes so"
_RANDOM = "Keras draws its random numbers even where training is false"

_BOTH: Mapping[str, str] = {
    **dict.fromkeys(
        ("cholesky", "cholesky_inverse", "eigh", "inv", "logdet", "lstsq", "lu_factor", "matrix_rank", "pinv", "qr",
         "slogdet", "solve", "solve_triangular", "svd"),
        _DECOMPOSITION,
    ),
    "nextafter": _NEXT,
    "Resizing: pad bicubic": _OPEN_SIZE,
    "histogram": _LENGTH,
}  # fmt: skip
REFUSED: Mapping[str, Mapping[str, str]] = {
    "tflite": {
        **_BOTH,
        "det": _DECOMPOSITION,
        "bincount": _LENGTH,
        "nonzero": _LENGTH,
        **dict.fromkeys(("floor_divide: int64", "bitwise_right_shift: int64", "right_shift: int64"), _INT64),
    },
    "onnx": {**_BOTH, "scan": _TENSOR_LISTS, "view": _BITS},
}
"""By engine and case."""

RANDOM: Mapping[str, str] = dict.fromkeys(
    ("RandomColorDegeneration", "RandomGrayscale", "RandomHue", "RandomPosterization", "RandomSaturation",
     "RandomSharpness", "MixUp"),
    _RANDOM,
)  # fmt: skip
"""Layers that may be refused, or answer right."""

_TRACED = "Keras' TensorFlow backend cannot build it in a model"
_NOT_SERVED = "it belongs to training or to Python, and a served model has none of it"
_STRINGS = "it takes strings, which no engine of edgemm serves: look words up before the model"
_BASE = "it is a base of other layers, or describes an input"
_ELSEWHERE = "it runs a model of another library or format: convert that one"

OPERATIONS: Mapping[str, str] = {
    **dict.fromkeys(
        ("associative_scan", "corrcoef", "eig", "inner", "isin", "kron", "nanmedian", "nanpercentile", "nanquantile",
         "vectorize"),
        _TRACED,
    ),
    **dict.fromkeys(("convert_to_numpy", "ctc_loss", "jvp"), _NOT_SERVED),
    "bartlett": _TRACED,
    "ctc_decode": "no engine decodes it: do it after the model, on the scores",
    "image.elastic_transform": "it draws random numbers",
}  # fmt: skip
"""Public functions of `keras.ops` without a case."""

LAYERS: Mapping[str, str] = {
    **dict.fromkeys(("InputLayer", "InputSpec", "Layer", "Wrapper"), _BASE),
    **dict.fromkeys(("Hashing", "HashedCrossing", "StringLookup", "TextVectorization"), _STRINGS),
    **dict.fromkeys(("FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"), _ELSEWHERE),
    "MaxNumBoundingBoxes": "it takes boxes beside images, as a pipeline of training data does",
}
"""Layers without a case."""

ACTIVATIONS: Mapping[str, str] = dict.fromkeys(("deserialize", "get", "serialize"), _NOT_SERVED)
"""Public names of `keras.activations` that are no activation."""
