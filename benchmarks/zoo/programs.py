"""Family P of the zoo: small PyTorch architectures as exported programs, each built from a fixed seed.

    exported("torch/mlp")        an exported program of PyTorch
    DECLARED                     what is refused, with words of the reason

Each has a free batch but those that end with `_one`, which were exported with a batch of 1.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from simulators import needs

with needs.imports(__name__, "torch"):
    import torch
    from torch import nn
    from torch.nn import functional

DECLARED: Mapping[str, str] = {
    "torch/dropout_training": "while it is trained",
    "torch/noise": "draws random numbers",
    "torch/nonzero": "depends on the data",
    "torch/half": "half precision",
    "torch/norms": "on the edge input",  # norms of next to nothing, whose answers are rounding alone
    "torch/transformer": "all true in 'padding' alone",  # attention to nothing
}
LITE_LEFT_OUT: Mapping[str, str] = {
    "torch/double": "no TFLite operation for tfl.batch_matmul",
    "torch/embedding_bag": "no TFLite operation for aten._embedding_bag",
}
"""What has no TFLite variant, with words of the reason."""

Case = tuple[Any, tuple[Any, ...]]


def _images(channels: int = 3, size: int = 16) -> Any:
    return torch.randn(2, channels, size, size)


class _Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.one, self.two = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.norm, self.last = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, image: Any) -> Any:
        x = functional.relu(self.stem(image))
        x = functional.relu(x + self.last(self.two(functional.relu(self.norm(self.one(x))))))
        return self.head(x.mean((2, 3)))


class _UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.middle = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 12, 3, padding=1)
        self.up, self.last = nn.ConvTranspose2d(12, 6, 2, stride=2), nn.Conv2d(12, 2, 1)

    def forward(self, image: Any) -> Any:
        x = functional.silu(self.down(image))
        y = self.up(functional.silu(self.middle(functional.max_pool2d(x, 2))))
        return self.last(torch.cat([x, y], 1)).softmax(1)


class _Recurrent(nn.Module):
    def __init__(self, kind: Any, *, both: bool) -> None:
        super().__init__()
        self.core = kind(6, 8, num_layers=2, batch_first=True, bidirectional=both)
        self.head = nn.Linear(16 if both else 8, 3)

    def forward(self, series: Any) -> Any:
        return self.head(self.core(series)[0][:, -1])


class _Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu", norm_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(16, 2)

    def forward(self, tokens: Any, padding: Any) -> Any:
        return self.head(self.encoder(self.embedding(tokens), src_key_padding_mask=padding)[:, 0])


class _Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(20, 8, mode="mean"), nn.Linear(8, 2)

    def forward(self, tokens: Any) -> Any:
        return self.head(self.bag(tokens))


class _Pooled(nn.Module):
    """An embedding whose rows are averaged by hand, which has a TFLite variant."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.head = nn.Embedding(20, 8), nn.Linear(8, 2)

    def forward(self, tokens: Any) -> Any:
        return self.head(self.rows(tokens).mean(1))


class _Several(nn.Module):
    """Several inputs and outputs of several types, some of them nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 8), nn.Linear(3, 8)

    def forward(self, left: Any, right: Any, factor: float = 2.0, *, kind: Any) -> dict[str, Any]:
        x = torch.tanh(self.left(left)) + torch.tanh(self.right(right)) * kind[:, None]
        score = x * factor
        return {"score": score, "nothing": None, "best": score.argmax(1), "both": (score > 0, score.sum(1))}


class _Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(24, 8), nn.ELU(), nn.Linear(8, 3))
        self.decoder = nn.Sequential(nn.Linear(3, 8), nn.ELU(), nn.Linear(8, 24))

    def forward(self, frame: Any) -> Any:
        code = self.encoder(frame)
        made = self.decoder(code)
        return made, (made - frame).square().mean(1), code


class _Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.group = nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(4, 8)
        self.layer, self.instance = nn.LayerNorm([8, 16, 16]), nn.InstanceNorm2d(8, affine=True)

    def forward(self, image: Any) -> Any:
        return self.instance(functional.hardswish(self.layer(self.group(self.conv(image))))).amax((2, 3))


class _Double(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(5, 2).double()

    def forward(self, x: Any) -> Any:
        return self.inner(x)


class _Noise(nn.Module):
    def forward(self, x: Any) -> Any:
        return x + torch.randn_like(x)


class _Nonzero(nn.Module):
    def forward(self, x: Any) -> Any:
        return x[x > 0]


def _mobile() -> Any:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.Hardswish(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.ReLU6(), nn.Conv2d(8, 16, 1), nn.ReLU6(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip


def _mlp() -> Any:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3), nn.Softmax(-1))


def _cnn() -> Any:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding="same"), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3),
        nn.ReLU(), nn.AvgPool2d(2, ceil_mode=True), nn.Flatten(), nn.LazyLinear(10),
    )  # fmt: skip


def _signal() -> Any:
    return nn.Sequential(
        nn.Conv1d(2, 8, 5, stride=2, padding=2), nn.LeakyReLU(), nn.Conv1d(8, 8, 3, dilation=2), nn.PReLU(8),
        nn.MaxPool1d(2), nn.Flatten(), nn.LazyLinear(4), nn.LogSoftmax(-1),
    )  # fmt: skip


def _kinds() -> tuple[Any, ...]:
    return torch.randn(2, 4), torch.randn(2, 3), 0.5


_TOKENS = torch.arange(12).reshape(2, 6)
_CASES: Mapping[str, Callable[[], Case]] = {
    "torch/mlp": lambda: (_mlp(), (torch.randn(2, 8),)),
    "torch/mlp_one": lambda: (_mlp(), (torch.randn(1, 8),)),
    "torch/cnn": lambda: (_cnn(), (_images(1),)),
    "torch/residual": lambda: (_Residual(), (_images(),)),
    "torch/depthwise": lambda: (_mobile(), (_images(),)),
    "torch/lstm": lambda: (_Recurrent(nn.LSTM, both=False), (torch.randn(2, 7, 6),)),
    "torch/gru": lambda: (_Recurrent(nn.GRU, both=True), (torch.randn(2, 7, 6),)),
    "torch/transformer": lambda: (_Transformer(), (_TOKENS, torch.zeros(2, 6, dtype=torch.bool))),
    "torch/autoencoder": lambda: (_Autoencoder(), (torch.randn(2, 24),)),
    "torch/signal": lambda: (_signal(), (torch.randn(2, 2, 40),)),
    "torch/embedding": lambda: (_Pooled(), (_TOKENS,)),
    "torch/embedding_bag": lambda: (_Bag(), (_TOKENS,)),
    "torch/u_net": lambda: (_UNet(), (_images(),)),
    "torch/norms": lambda: (_Normed(), (_images(),)),
    "torch/several": lambda: (_Several(), _kinds()),
    "torch/double": lambda: (_Double(), (torch.randn(2, 5, dtype=torch.float64),)),
    "torch/dropout_training": lambda: (_mlp().train(), (torch.randn(2, 8),)),
    "torch/noise": lambda: (_Noise(), (torch.randn(2, 8),)),
    "torch/nonzero": lambda: (_Nonzero(), (torch.randn(2, 8),)),
    "torch/half": lambda: (_mlp().half(), (torch.randn(2, 8).half(),)),
}
KEYS = tuple(_CASES)


def exported(key: str) -> Any:
    """Return a program of the zoo."""
    torch.manual_seed(7)
    model, given = _CASES[key]()
    model(*given, **_keywords(key))  # lazy layers learn their sizes
    if key != "torch/dropout_training":
        model.eval()
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.running_mean, -0.5, 0.5)
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
    keywords = _keywords(key)
    free = None if key.endswith("_one") else {0: torch.export.Dim.AUTO}
    named = inspect.signature(model.forward).bind(*given, **keywords).arguments
    shapes = {name: free if isinstance(one, torch.Tensor) else None for name, one in named.items()}
    return torch.export.export(model, given, keywords, dynamic_shapes=shapes)


def _keywords(key: str) -> dict[str, Any]:
    return {"kind": torch.tensor([0, 3])} if key == "torch/several" else {}
