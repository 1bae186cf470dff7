from typing import Any

import msgspec
import pytest

from edgemm import canonical
from edgemm.bundle.manifest import MODEL_NAME_PATTERN, DType, Manifest, check_model_name, decode_manifest
from edgemm.errors import BundleError, InputError
from tests.unit.core.bundles import DIGEST, small_manifest


def test_round_trip() -> None:
    manifest = small_manifest()
    assert decode_manifest(manifest.encode(), path="m") == manifest


@pytest.mark.parametrize(
    "steps", [{}, {"mean": [1]}, {"mean": [1, 2, 3], "std": [4]}, {"channels": "gray", "std": [2]}]
)
def test_means_and_deviations_of_one_number_or_of_all_channels_are_read(steps: dict[str, object]) -> None:
    raw = _changed(preprocessing={"x": steps})
    assert decode_manifest(canonical.encode(raw), path="m").preprocessing is not None


def test_identity_follows_from_every_field() -> None:
    manifests = [small_manifest(), small_manifest(version="1.0.1"), small_manifest(labels=None)]
    digests = {canonical.sha256(m.encode()) for m in manifests}
    assert len(digests) == 3


def _changed(**changes: Any) -> dict[str, Any]:
    raw: dict[str, Any] = msgspec.to_builtins(small_manifest())
    raw.update(changes)
    return raw


def _variants(**changes: object) -> list[dict[str, object]]:
    return [{**v, **changes} for v in _changed()["variants"]]


def _columns(*columns: dict[str, object]) -> dict[str, Any]:
    """Return a manifest in which the golden samples hold columns of y [−1, 2] to tolerances of their own."""
    tolerance = {v: {"y": {"max_abs": 1.0, "columns": columns}} for v in ("tflite:int8", "tflite:float32")}
    return _changed(golden={**_changed()["golden"], "tolerance": tolerance})


def test_columns_may_have_tolerances_of_their_own_and_are_not_written_where_there_are_none() -> None:
    found = decode_manifest(
        canonical.encode(_columns({"axis": 1, "start": 1, "stop": 2, "max_abs": 0.1})), path="m"
    ).golden.tolerance["tflite:int8"]["y"]
    assert [c.max_abs for c in found.columns or ()] == [0.1]
    assert b"columns" not in small_manifest().encode()


def _strings(**of_variants: object) -> dict[str, Any]:
    """Return a manifest whose input x is of strings, in its variants too where these do not say another thing."""
    raw = _changed(preprocessing=None)
    raw["signature"]["inputs"][0]["dtype"] = "string"
    for variant in raw["variants"]:
        variant["inputs"][0].update({"dtype": "string", "quantization": None, **of_variants})
    return raw


def _input(**fields: object) -> dict[str, Any]:
    raw = _changed()
    raw["signature"]["inputs"][0].update(fields)
    return raw


def test_an_input_of_strings_is_one_in_the_file_too() -> None:
    found = decode_manifest(canonical.encode(_strings()), path="m")
    assert found.signature.inputs[0].dtype is DType.STRING
    assert b"missing" not in found.encode()


def test_a_text_may_be_missing() -> None:
    raw = _strings()
    raw["signature"]["inputs"][0]["missing"] = True
    assert decode_manifest(canonical.encode(raw), path="m").signature.inputs[0].missing is True


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (_strings(dtype="float32"), "'x' is of strings in the signature or in variant tflite:int8, and not in both"),
        (_strings(quantization={"scale": 1.0, "zero_point": 0}), "'x' is of strings in variant tflite:int8, and quant"),
        (_strings() | {"preprocessing": {"x": {}}}, "pre-processing is declared for 'x', which is of strings"),
        (
            _input(dtype="int8", missing=True),
            "'x' is said to take missing values, and is no input of floats",
        ),
        (_columns({"axis": 2, "start": 0, "stop": 1, "max_abs": 0.1}), "columns that output 'y' does not have"),
        (_columns({"axis": 1, "start": 0, "stop": 3, "max_abs": 0.1}), "columns that output 'y' does not have"),
        (_columns({"axis": 1, "start": 1, "stop": 1, "max_abs": 0.1}), "columns that output 'y' does not have"),
        (_columns({"axis": 1, "start": 0, "stop": 1, "max_abs": -1}), "max_abs"),
        (_changed(name="../etc"), "name"),
        (_changed(name="a\n"), "name"),
        (_changed(version="1.0"), "version"),
        (_changed(variants=[]), "variants"),
        (_changed(variants=_variants(engine="onnx")), "another engine"),
        (_changed(variants=_variants(id="tflite:int8")), "two variants have one name"),
        (_changed(variants=_variants(inputs=[])), "tensors of the signature"),
        (_changed(variants=_variants(blob="0" * 64)), "used but not listed"),
        (_changed(blobs={**_changed()["blobs"], "0" * 64: {"size": 1, "media_type": "x"}}), "listed but not used"),
        (_changed(golden={**_changed()["golden"], "tolerance": {}}), "no tolerance"),
        (_changed(golden={**_changed()["golden"], "inputs": {"z": DIGEST["x"]}}), "golden samples"),
        (_changed(preprocessing={"z": {}}), "'z', which is no input"),
        (_changed(preprocessing={"x": {"mean": [1, 2]}}), "mean and std of 'x' are neither"),
        (_changed(preprocessing={"x": {"channels": "gray", "std": [1, 2, 3]}}), "nor one for each of 1 channels"),
        (_changed(documents={"../card": DIGEST["x"]}), "documents"),
        (_changed(blobs={"zz": {"size": 1, "media_type": "x"}}), "blobs"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(raw: dict[str, object], says: str) -> None:
    with pytest.raises(BundleError, match=says):
        decode_manifest(canonical.encode(raw), path="m")
    with pytest.raises((msgspec.ValidationError, ValueError)):
        msgspec.convert(raw, Manifest)


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"\xff\xfe", b'{"format":1}', b'{"format":"x"}', b"[" * 100_000])
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json is not a manifest"):
        decode_manifest(data, path="m")


def test_what_a_device_needs_of_a_variant() -> None:
    assert small_manifest().blobs_for("tflite:int8") == tuple(sorted({DIGEST["int8"], DIGEST["x"], DIGEST["y"]}))


def test_an_unknown_variant_names_those_there_are() -> None:
    with pytest.raises(InputError, match="it has tflite:int8, tflite:float32"):
        small_manifest().variant("onnx:int8")


@pytest.mark.parametrize("name", ["", "-a", "A", "a/b", "a" * 64, "ä", "a\n", ".."])
def test_what_is_no_model_name(name: str) -> None:
    with pytest.raises(InputError, match="model name"):
        check_model_name(name)


def test_what_is_a_model_name() -> None:
    assert check_model_name("a" * 63) == "a" * 63
    assert MODEL_NAME_PATTERN.endswith(r"\Z")
