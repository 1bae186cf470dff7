"""What a model of the zoo is, and the table of all of them. Imports no TensorFlow: a family is built in a child."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FAMILIES: Mapping[str, str] = {
    "A": "applications",
    "B": "mlperf_tiny",
    "C": "recurrent",
    "D": "attention",
    "E": "structures",
    "F": "layers",
    "G": "artifacts",
}
"""Family → the module of `benchmarks.zoo` that builds it."""

NAMES: Mapping[str, tuple[str, ...]] = {
    "A": (
        "MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large", "NASNetMobile", "EfficientNetB0",
        "EfficientNetB1", "EfficientNetB2", "EfficientNetB3", "EfficientNetV2B0", "EfficientNetV2B1",
        "EfficientNetV2B2", "EfficientNetV2S", "DenseNet121", "DenseNet169", "ResNet50", "ResNet101", "ResNet50V2",
        "InceptionV3", "InceptionResNetV2", "Xception", "ConvNeXtTiny", "VGG16", "VGG19",
    ),
    "B": ("ad", "ic", "kws", "vww", "sww"),
    "C": (
        "lstm_last", "lstm_sequence", "lstm_state", "lstm_stateful", "gru_reset_after", "gru_reset_before",
        "gru_sequence", "simple_rnn", "bilstm", "bigru", "stacked_lstm", "masked_embedding_lstm", "conv_lstm2d",
        "time_distributed_cnn_lstm", "seq2seq",
    ),
    "D": (
        "multi_head", "causal", "grouped_query", "additive", "einsum_dense", "vit_tiny", "bert_tiny", "gpt_tiny",
        "conformer",
    ),
    "E": ("segformer", "retinanet", "deeplab", "fnet", "vae", "unet", "yolo_head", "dcgan"),
    "F": (
        "conv1d_causal", "conv3d", "conv2d_transpose", "grouped_conv", "separable", "dilated", "stride_10_same",
        "upsampling", "resizing", "layer_norm", "group_norm", "prelu", "gelu", "normalization", "rescaling",
        "random_flip_rotation", "mel_spectrogram", "integer_lookup", "string_lookup", "text_vectorization",
    ),
    "G": (
        "subclassed", "nested", "shared_layers", "dict_io", "three_outputs", "custom_registered",
        "custom_unregistered", "lambda", "mixed_float16", "dynamic_size", "dynamic_sequence", "two_signatures",
        "optimizer_slots", "keras2_h5_lambda", "keras_int8", "wide_and_deep",
    ),
}  # fmt: skip

DECLARED: Mapping[str, str] = {
    "A/EfficientNetV2S": "the source's own answer moves by",  # untrained, the last bits of its inputs turn it over
    "F/string_lookup": "is of dtype string",
    "F/text_vectorization": "is of dtype string",
}
"""What edgemm refuses, declared beforehand: key → what its message says. At most three."""

KERAS_2 = frozenset({"G/optimizer_slots", "G/keras2_h5_lambda"})
"""Built with tf-keras, which must be chosen before TensorFlow is imported."""


@dataclass(frozen=True)
class Built:
    """A model of the zoo on disk, and what else its conversion needs."""

    path: Path
    model: Any
    """Called with the inputs by name for the reference outputs; None where `reference` does it."""

    reference: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    inputs: Mapping[str, tuple[tuple[int | None, ...], str]] = field(default_factory=dict)
    """Shape (None = free) and dtype by input name; from the model where empty."""

    options: tuple[str, ...] = ()
    """What `edgemm convert` must be told of this source."""

    high: int = 4
    """Integers are drawn below this."""


def keys(families: str) -> list[str]:
    """Return the keys `FAMILY/NAME` of all models of some families."""
    return [f"{family}/{name}" for family in families for name in NAMES[family]]
