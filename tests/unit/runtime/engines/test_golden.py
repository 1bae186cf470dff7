"""The self-test refuses what does not answer as the source model did, and says what was wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import pytest

from edgemm.bundle import open_bundle, write_bundle
from edgemm.bundle.column_figures import ColumnTolerance
from edgemm.bundle.manifest import Blob, Manifest, Tolerance
from edgemm.errors import BundleError, EngineUnavailableError, SelfTestError, SelfTestTimeoutError
from edgemm_runtime import engines
from edgemm_runtime.engines import golden, selftest
from edgemm_runtime.engines.bundle_source import BundleFile, StoredBundle
from edgemm_runtime.tensors import comparison
from edgemm_runtime.tensors.npy import read_npy, write_npy
from simulators.models import INPUT, OUTPUT, VARIANTS, make_bundle, make_manifest


def check(path: Path, variant_id: str = "tflite:float32", *, samples: int | None = None) -> None:
    with open_bundle(path) as source:
        variant = source.manifest.variant(variant_id)
        model = engines.load(variant, source.manifest.signature, source.read(variant.blob))
        golden.check(source, variant, model, samples=samples)


def with_golden_outputs(manifest: Manifest, blobs: dict[str, bytes], data: bytes) -> tuple[Manifest, dict[str, bytes]]:
    """Return the bundle with other golden outputs."""
    old, new = manifest.golden.outputs[OUTPUT], hashlib.sha256(data).hexdigest()
    listed = {d: b for d, b in manifest.blobs.items() if d != old}
    listed[new] = Blob(size=len(data), media_type="application/octet-stream")
    samples = msgspec.structs.replace(manifest.golden, outputs={OUTPUT: new})
    return msgspec.structs.replace(manifest, golden=samples, blobs=listed), blobs | {new: data}


@pytest.mark.parametrize("variant_id", VARIANTS)
def test_a_good_bundle_passes(bundle_path: Path, variant_id: str) -> None:
    check(bundle_path, variant_id)


@pytest.mark.parametrize("variant_id", VARIANTS)
def test_scrambled_weights_fail_and_the_message_has_the_facts(tmp_path: Path, variant_id: str) -> None:
    make_bundle(tmp_path / "b.edgemm", scramble=True)
    with pytest.raises(SelfTestError, match=rf"{variant_id} .*sample 0, output 'scores'.*at most .*, found \d"):
        check(tmp_path / "b.edgemm", variant_id)


def test_one_bad_sample_among_good_ones_is_found_and_a_subset_stops_before_it(tmp_path: Path) -> None:
    manifest, blobs = make_manifest()
    outputs = read_npy(blobs[manifest.golden.outputs[OUTPUT]], name="").copy()
    outputs[5] += 1
    path = tmp_path / "b.edgemm"
    write_bundle(path, *with_golden_outputs(manifest, blobs, write_npy(outputs)))
    with pytest.raises(SelfTestError, match="golden sample 5"):
        check(path)
    check(path, samples=5)


@pytest.mark.parametrize(("share", "passes"), [(0.75, True), (0.8, False)])
def test_the_largest_class_may_differ_in_the_share_of_samples_that_the_tolerance_says(
    tmp_path: Path, share: float, passes: bool
) -> None:
    manifest, blobs = make_manifest(samples=8, variants=("tflite:float32",))
    outputs = read_npy(blobs[manifest.golden.outputs[OUTPUT]], name="").copy()
    outputs[:2] = -outputs[:2]
    manifest, blobs = with_golden_outputs(manifest, blobs, write_npy(outputs))
    tolerance = {"tflite:float32": {OUTPUT: Tolerance(max_abs=100, min_argmax_agreement=share)}}
    samples = msgspec.structs.replace(manifest.golden, tolerance=tolerance)
    write_bundle(tmp_path / "b.edgemm", msgspec.structs.replace(manifest, golden=samples), blobs)
    if passes:
        check(tmp_path / "b.edgemm")
    else:
        with pytest.raises(SelfTestError, match="at most 1 of 8 .* found 2"):
            check(tmp_path / "b.edgemm")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no array", "not a .npy array"),
        (write_npy(np.zeros((8, 1, 3))), r"expected float32\[8, -1, 3\], found float64\[8, 1, 3\]"),
        (write_npy(np.zeros((7, 1, 3), np.float32)), r"found float32\[7, 1, 3\]"),
        (write_npy(np.zeros((8, 1, 3), np.float32))[:-4], "needs 96 bytes, found 92"),
    ],
)
def test_golden_blobs_that_are_not_the_manifests_arrays_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "b.edgemm"
    write_bundle(path, *with_golden_outputs(*make_manifest(), data))
    with pytest.raises(BundleError, match=message):
        check(path)


def test_npy_never_unpickles_and_never_believes_a_size() -> None:
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    pickled = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"cos\nsystem\n."
    with pytest.raises(BundleError, match="Python objects"):
        read_npy(pickled, name="x")
    huge = pickled.replace(b"|O", b"<f8").replace(b"(1,)", b"(9999999999,)")
    huge = huge[:8] + (len(header) + 10).to_bytes(2, "little") + huge[10:]
    with pytest.raises(BundleError, match=r"needs 79,999,999,992 bytes"):
        read_npy(huge, name="x")


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_round_trip_keeps_values(order: Literal["C", "F"]) -> None:
    array = np.asarray(np.arange(24, dtype=np.float32).reshape(2, 3, 4), order=order)
    assert np.array_equal(read_npy(write_npy(array), name="x"), array)


@pytest.mark.parametrize(("left", "right", "error"), [
    ([1.0, np.nan], [1.0, np.nan], 0), ([1.0], [np.nan], np.inf), ([np.inf], [np.inf], 0), ([1.0], [3.0], 2),
])  # fmt: skip
def test_nan_counts_as_wrong_unless_the_source_said_so(left: list[float], right: list[float], error: float) -> None:
    assert comparison.largest_error(np.array(left), np.array(right)) == error


def test_a_column_is_held_to_its_own_tolerance(tmp_path: Path) -> None:
    manifest, blobs = make_manifest()
    for limit in (1e9, 0.0):
        columns = (ColumnTolerance(axis=1, start=1, stop=3, max_abs=limit),)
        tolerance = {v: {OUTPUT: Tolerance(max_abs=1e9, columns=columns)} for v in VARIANTS}
        golden_samples = msgspec.structs.replace(manifest.golden, tolerance=tolerance)
        write_bundle(tmp_path / f"{limit}", msgspec.structs.replace(manifest, golden=golden_samples), blobs)
    check(tmp_path / "1000000000.0", "tflite:int8")
    with pytest.raises(SelfTestError, match=r"'scores', axis 1, 1 to 2: expected an error of at most 0, found \d"):
        check(tmp_path / "0.0", "tflite:int8")


def test_a_child_passes_a_good_bundle_and_names_what_is_wrong_with_a_bad_one(bundle_path: Path) -> None:
    selftest.run_in_child(BundleFile(bundle_path), "tflite:int8", timeout_s=60)
    make_bundle(bundle_path, scramble=True)
    with pytest.raises(SelfTestError, match="golden sample 0, output 'scores'"):
        selftest.run_in_child(BundleFile(bundle_path), "tflite:int8", timeout_s=60)


def test_a_child_reads_a_manifest_and_a_folder_of_blobs(tmp_path: Path) -> None:
    manifest, blobs = make_manifest(variants=("tflite:float32",))
    (tmp_path / "manifest.json").write_bytes(manifest.encode())
    folder = tmp_path / "blobs"
    folder.mkdir()
    for digest, data in blobs.items():
        (folder / digest).write_bytes(data)
    where = StoredBundle(tmp_path / "manifest.json", folder)
    selftest.run_in_child(where, "tflite:float32", timeout_s=60)
    digest = manifest.variants[0].blob
    (folder / digest).write_bytes(blobs[digest][:-1] + b"!")
    with pytest.raises(SelfTestError, match="sha256"):
        selftest.run_in_child(where, "tflite:float32", timeout_s=60)


def test_a_child_that_does_not_end_is_killed(bundle_path: Path) -> None:
    with pytest.raises(SelfTestTimeoutError, match="did not end within 0.01 s"):
        selftest.run_in_child(BundleFile(bundle_path), "tflite:int8", timeout_s=0.01)


@pytest.mark.parametrize("signal", ["SIGSEGV", "SIGKILL"])
def test_a_child_that_is_killed_names_the_signal(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signal: str
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(f"import os, signal\nos.kill(os.getpid(), signal.{signal})\n")
    monkeypatch.setenv("PYTHONPATH", str(site))
    with pytest.raises(SelfTestError, match=f"killed by {signal}"):
        selftest.run_in_child(BundleFile(bundle_path), "tflite:int8", timeout_s=60)


def test_a_child_without_the_engine_says_so(bundle_path: Path) -> None:
    make_bundle(bundle_path, minimum_engine="99.0")
    with pytest.raises(EngineUnavailableError, match=r"needs ai-edge-litert>=99.0"):
        selftest.run_in_child(BundleFile(bundle_path), "tflite:int8", timeout_s=60)


def test_samples_have_the_signatures_names(bundle_path: Path) -> None:
    with open_bundle(bundle_path) as source:
        samples = golden.read_samples(source)
    assert (samples.count, set(samples.input(0)), set(samples.outputs)) == (8, {INPUT}, {OUTPUT})


@pytest.mark.parametrize("kept", [8, 400])
def test_a_file_that_its_engine_cannot_open_fails_in_the_child_whatever_the_engine_does(
    tmp_path: Path, kept: int
) -> None:
    """LiteRT refuses a file that is cut short; tflite-runtime crashes."""
    manifest, blobs = make_manifest(variants=("tflite:float32",))
    (variant,) = manifest.variants
    cut = blobs[variant.blob][:kept]
    digest = hashlib.sha256(cut).hexdigest()
    listed = {d: blob for d, blob in manifest.blobs.items() if d != variant.blob}
    listed[digest] = Blob(size=len(cut), media_type="application/octet-stream")
    changed = msgspec.structs.replace(variant, blob=digest)
    write_bundle(
        tmp_path / "b.edgemm",
        msgspec.structs.replace(manifest, variants=(changed,), blobs=listed),
        blobs | {digest: cut},
    )
    with pytest.raises(SelfTestError, match=r"LiteRT cannot load the file|killed by SIG"):
        selftest.run_in_child(BundleFile(tmp_path / "b.edgemm"), "tflite:float32", timeout_s=60)


def test_a_golden_sample_that_comes_out_as_no_number_is_told_as_such(bundle_path: Path) -> None:
    class Broken:
        def run(self, _inputs: object) -> dict[str, np.ndarray]:
            return {OUTPUT: np.array([[0.5, np.nan, np.inf]], np.float32)}

    with open_bundle(bundle_path) as source:
        variant = source.manifest.variant("tflite:float32")
        with pytest.raises(SelfTestError, match=r"sample 0, output 'scores': 2 of 3 values are no finite number, NaN"):
            golden.check(source, variant, Broken())
