"""The ways from the JSON text of a tensor to an array: how long each takes, and which of them are exact.

    python -m benchmarks.numbers [--values 3072] [--rounds 60]

Times are medians of interleaved rounds in this process, in µs; ratios are to what the runtime does today
(`edgemm_runtime.tensors.numbers.read_numbers`). A way is exact if it takes what the dtype holds, rounded once, and
refuses everything else: numbers out of range, booleans, null, text, fractions for integers. What an inexact one does
instead stands beside it. Ways over a library that is not installed are left out.
"""

from __future__ import annotations

import argparse
import array
import importlib
import json
import math
import statistics
import struct
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, TypeAlias

from simulators import needs

with needs.imports(__name__, "runtime"):
    import msgspec
    import numpy as np
    import numpy.typing as npt

    from edgemm.bundle.manifest import DType, TensorSpec
    from edgemm.errors import BadRequestError
    from edgemm_runtime.tensors.numbers import read_numbers

Array: TypeAlias = npt.NDArray[Any]
Read: TypeAlias = Callable[[bytes], Array]

TODAY = "read_numbers (today)"
CODES: Mapping[str, str] = {"int8": "b", "float32": "f"}
"""What `struct` and `array` call each dtype."""
REFUSED: Mapping[str, tuple[str, ...]] = {
    "int8": ("[128]", "[-129]", "[99999999999999999999]", "[true]", "[null]", '["1"]', "[1.5]", "[[1]]", "[1,]", "[1"),
    "float32": ("[1e39]", "[-1e39]", "[1e400]", "[true]", "[null]", '["1"]', "[NaN]", "[[1]]", "[1,]", "[1"),
}
TAKEN: Mapping[str, str] = {
    "int8": "[-128, 127 ,0,-0]",
    "float32": "[1, -0.0, 3.4028234663852886e38, 1e-46, 16777217, 0.1]",
}
_INNER_REPEATS = 10


@dataclass(frozen=True)
class Way:
    """One way from text to an array, for one dtype; `wrong` lists what it does not refuse or rounds otherwise."""

    name: str
    read: Read
    wrong: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Whether it does all that was asked rightly."""
        return not self.wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--values", type=int, default=3072)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # some ways say in a warning what others raise; here it shows as inexact
    for dtype in CODES:
        ways = [Way(name, read, mistakes(read, dtype)) for name, read in ways_for(dtype).items()]
        for what, text in texts(dtype, options.values).items():
            print(f"\n{dtype}, {options.values:,} {what}, {len(text):,} bytes of JSON\n")
            print_table(ways, measure({way.name: way.read for way in ways}, text, rounds=options.rounds))
        print_nested(dtype, options.values, rounds=options.rounds)


def texts(dtype: str, values: int) -> dict[str, bytes]:
    """Return flat JSON lists: of integers, of float32 as short as they can be, of the same as Python's floats."""
    random = np.random.default_rng(0)
    if dtype == "int8":
        return {"integers": msgspec.json.encode(random.integers(-128, 128, values).tolist())}
    floats = random.uniform(0, 1, values).astype(np.float32)
    short = ",".join(np.format_float_positional(number, trim="0") for number in floats)
    return {
        "pixels": msgspec.json.encode(random.integers(0, 256, values).tolist()),
        "numbers of 8 digits": f"[{short}]".encode(),
        "numbers of 17 digits": msgspec.json.encode(floats.tolist()),
    }


def ways_for(dtype: str) -> dict[str, Read]:
    """Return all ways for a dtype by name."""
    wanted, code = np.dtype(dtype), CODES[dtype]
    listed: Any = list[int] if dtype == "int8" else list[float]
    tupled: Any = tuple[int, ...] if dtype == "int8" else tuple[float, ...]
    typed, as_tuple = msgspec.json.Decoder(listed).decode, msgspec.json.Decoder(tupled).decode
    spec = TensorSpec(name="x", dtype=DType(dtype), shape=(-1,))
    ways: dict[str, Read] = {
        TODAY: lambda raw: read_numbers(raw, spec, shape=(length(raw),)),
        "msgspec list → np.array → narrow": lambda raw: narrow(np.array(typed(raw)), wanted),
        "msgspec list → np.array of the dtype": lambda raw: np.array(typed(raw), wanted),
        "msgspec list → np.fromiter": lambda raw: np.fromiter(found := typed(raw), wanted, len(found)),
        "msgspec list → array.array": lambda raw: np.frombuffer(array.array(code, typed(raw)), wanted),
        "msgspec list → struct.pack": lambda raw: pack(typed(raw), dtype),
        "msgspec tuple → struct.pack": lambda raw: pack(as_tuple(raw), dtype),
        "msgspec, untyped → struct.pack": lambda raw: pack(msgspec.json.decode(raw), dtype),
        "json.loads → struct.pack": lambda raw: pack(json.loads(raw), dtype),
        "np.fromstring": lambda raw: narrow(np.fromstring(raw.strip(b"[]"), _widest(wanted), sep=","), wanted),
    }
    if dtype == "int8":
        ranged = msgspec.json.Decoder(list[Annotated[int, msgspec.Meta(ge=-128, le=127)]]).decode
        ways["msgspec list with ge and le → np.fromiter"] = lambda raw: np.fromiter(ranged(raw), wanted)
    return ways | _optional(dtype)


def pack(values: Sequence[float], dtype: str) -> Array:
    """Return numbers as an array, by `struct`, which checks ranges as it packs.

    Raises:
        struct.error: an integer is out of range, or a value is no number.
        OverflowError: a finite float is beyond the dtype's range.
    """
    data = struct.pack(f"<{len(values)}{CODES[dtype]}", *values)
    return np.frombuffer(data, np.dtype(dtype).newbyteorder("<"))


def unnest(raw: bytes, shape: tuple[int, ...]) -> bytes:
    """Return nested lists as one flat list, if brackets and commas stand as `shape` says.

    `raw` must be valid JSON (a `msgspec.Raw` is): then nothing but numbers of the shape passes this and a typed decoder
    of a flat list, since a bracket in a text leaves a text behind, and that decoder refuses it.

    Raises:
        ValueError: they stand otherwise.
    """
    if raw.translate(None, _NOT_STRUCTURE) != _structure(shape):
        raise ValueError(f"expected lists of shape {list(shape)}")
    return b"[" + raw.translate(None, b"[]") + b"]"


_NOT_STRUCTURE = bytes(set(range(256)) - set(b"[],"))


@cache
def _structure(shape: tuple[int, ...]) -> bytes:
    inner = _structure(shape[1:]) if len(shape) > 1 else b""
    return b"[" + b",".join([inner] * shape[0]) + b"]"


def narrow(values: Array, dtype: np.dtype[Any]) -> Array:
    """Return values in a dtype that holds all of them.

    Raises:
        OverflowError: it does not.
    """
    found = values.astype(dtype)
    lost = np.isinf(found) & ~np.isinf(values) if dtype.kind == "f" else found != values
    if lost.any():
        raise OverflowError(f"{values[lost][0]} is out of range")
    return found


def mistakes(read: Read, dtype: str) -> tuple[str, ...]:
    """Return what a way does wrongly, as `text → what came of it`."""
    wrong = []
    for text in REFUSED[dtype]:
        try:
            wrong.append(f"{text} → {read(text.encode()).tolist()}")
        except (ValueError, TypeError, OverflowError, struct.error, msgspec.MsgspecError, BadRequestError):
            continue
    taken = TAKEN[dtype]
    expected = np.array(json.loads(taken), np.float64).astype(dtype)
    try:
        found = read(taken.encode())
    except (ValueError, TypeError, OverflowError, struct.error, msgspec.MsgspecError, BadRequestError) as err:
        return (*wrong, f"{taken} → {err}")
    same = found.dtype == expected.dtype and found.tobytes() == expected.tobytes()
    return (*wrong, *(() if same else (f"{taken} → {found.tolist()}",)))


def measure(ways: Mapping[str, Read], text: bytes, *, rounds: int) -> dict[str, float]:
    """Return the median of each way in µs; rounds take the ways in turn."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, read in ways.items():
            read(text)
            start = time.perf_counter_ns()
            for _ in range(_INNER_REPEATS):
                read(text)
            taken[name].append((time.perf_counter_ns() - start) / _INNER_REPEATS / 1000)
    return {name: statistics.median(times) for name, times in taken.items()}


def print_table(ways: Sequence[Way], taken: Mapping[str, float]) -> None:
    """Print ways from the fastest to the slowest."""
    print("| way | µs | ÷ today | exact |")
    print("|---|---|---|---|")
    for way in sorted(ways, key=lambda way: taken[way.name]):
        verdict = "yes" if way.exact else "no: " + "; ".join(way.wrong)[:110].replace("|", "\\|")
        print(f"| {way.name} | {taken[way.name]:.1f} | {taken[way.name] / taken[TODAY]:.2f} | {verdict} |")


def print_nested(dtype: str, values: int, *, rounds: int) -> None:
    """Print what nested lists cost: as an image of 3 channels where the number of values allows it."""
    side = math.isqrt(values // 3)
    shape = (1, side, side, 3) if side * side * 3 == values else (1, values)
    spec = TensorSpec(name="x", dtype=DType(dtype), shape=shape)
    text = msgspec.json.encode(np.random.default_rng(0).integers(0, 128, shape).tolist())
    listed: Any = list[int] if dtype == "int8" else list[float]
    decode = msgspec.json.Decoder(listed).decode
    name = "brackets compared and cut out → msgspec list → struct.pack"
    ways: dict[str, Read] = {
        TODAY: lambda raw: read_numbers(raw, spec, shape=shape),
        name: lambda raw: pack(decode(unnest(raw, shape)), dtype).reshape(shape),
    }
    assert np.array_equal(ways[TODAY](text), ways[name](text))
    print(f"\n{dtype}, nested as {list(shape)}, {len(text):,} bytes of JSON\n")
    print_table([Way(way, read, ()) for way, read in ways.items()], measure(ways, text, rounds=rounds))


@cache  # counted once for each text, since a request says its shape: counting is no part of what is timed
def length(raw: bytes) -> int:
    """Return how many values a flat list has, without reading them."""
    return raw.count(b",") + 1


def _widest(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.int64 if dtype.kind == "i" else np.float64)


def _optional(dtype: str) -> dict[str, Read]:
    """Return ways over libraries that edgemm does not depend on."""
    ways: dict[str, Read] = {}
    if orjson := _module("orjson"):
        ways["orjson → struct.pack"] = lambda raw: pack(orjson.loads(raw), dtype)
    if simdjson := _module("simdjson"):
        kind, wide = ("i", np.int64) if dtype == "int8" else ("d", np.float64)
        parser = simdjson.Parser()

        def by_simdjson(raw: bytes) -> Array:
            values = np.frombuffer(parser.parse(raw).as_buffer(of_type=kind), wide)
            if raw.translate(None, _NOT_STRUCTURE) != _structure((len(values),)):
                raise ValueError("expected a flat list")  # the buffer is flat whatever the lists are
            return narrow(values, np.dtype(dtype))

        ways["simdjson's buffer → structure compared → narrow"] = by_simdjson
    return ways


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


if __name__ == "__main__":
    main()
