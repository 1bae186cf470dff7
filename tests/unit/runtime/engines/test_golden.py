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
from edgemm.bundle.other_kernels import KernelTolerance, OtherKernels
from edgemm.errors import BundleError, EngineUnavailableError, SelfTestError, SelfTestTimeoutError
from edgemm_runtime import engines
from edgemm_runtime.engines import golden, kernels, selftest
from edgemm_runtime.engines.bundle_source import BundleFile, StoredBundle
from edgemm_runtime.tensors import comparison
from edgemm_runtime.tensors.npy import deflated, read_npy, write_npy
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


def with_golden(folder: Path, **changes: object) -> Path:
    """Return a bundle of one variant whose golden samples are changed."""
    manifest, blobs = make_manifest(variants=("tflite:float32",))
    samples = msgspec.structs.replace(manifest.golden, **changes)
    write_bundle(folder / "b.edgemm", msgspec.structs.replace(manifest, golden=samples), blobs)
    return folder / "b.edgemm"


def with_blob(manifest: Manifest, blobs: dict[str, bytes], old: str, data: bytes) -> tuple[Manifest, dict[str, bytes]]:
    """Return a bundle in which another blob stands in the place of one of the golden samples."""
    new = hashlib.sha256(data).hexdigest()
    listed = {d: b for d, b in manifest.blobs.items() if d != old} | {new: Blob(size=len(data), media_type="x")}
    golden = manifest.golden
    golden = msgspec.structs.replace(
        golden,
        inputs={name: new if digest == old else digest for name, digest in golden.inputs.items()},
        outputs={name: new if digest == old else digest for name, digest in golden.outputs.items()},
    )
    return msgspec.structs.replace(manifest, golden=golden, blobs=listed), blobs | {new: data}


def deflated_bundle(path: Path, data: bytes) -> Path:
    manifest, blobs = make_manifest(variants=("tflite:float32",))
    manifest, blobs = with_blob(manifest, blobs, manifest.golden.inputs[INPUT], data)
    golden = msgspec.structs.replace(manifest.golden, deflated=(INPUT,))
    write_bundle(path / "b.edgemm", msgspec.structs.replace(manifest, golden=golden), blobs)
    return path / "b.edgemm"


def inputs_of() -> bytes:
    manifest, blobs = make_manifest(variants=("tflite:float32",))
    return blobs[manifest.golden.inputs[INPUT]]


def test_inputs_may_be_deflated(tmp_path: Path) -> None:
    check(deflated_bundle(tmp_path, deflated(inputs_of())))


@pytest.mark.parametrize(
    "data",
    [
        b"no stream",
        deflated(inputs_of())[:-3],
        deflated(inputs_of()) + b"more",
        deflated(inputs_of()[:-4]),
        deflated(b"\0" * 50_000_000),
    ],
)
def test_what_is_no_deflated_array_is_refused_without_being_unpacked(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BundleError, match="golden samples of"):
        check(deflated_bundle(tmp_path, data))


@pytest.mark.parametrize("scramble", [False, True])
def test_outputs_may_be_kept_at_some_places_alone(tmp_path: Path, scramble: bool) -> None:
    manifest, blobs = make_manifest(variants=("tflite:float32",), scramble=scramble)
    old = manifest.golden.outputs[OUTPUT]
    kept = read_npy(blobs[old], name="")[..., [0, 2]]
    manifest, blobs = with_blob(manifest, blobs, old, write_npy(np.ascontiguousarray(kept)))
    golden = msgspec.structs.replace(manifest.golden, sampled={OUTPUT: (None, (0, 2))})
    path = tmp_path / "b.edgemm"
    write_bundle(path, msgspec.structs.replace(manifest, golden=golden), blobs)
    if scramble:
        with pytest.raises(SelfTestError, match="sample 0"):
            check(path)
    else:
        check(path)


@pytest.mark.parametrize(
    ("sampled", "says"),
    [
        ({"other": (None, (0,))}, "places of another output"),
        ({OUTPUT: ((0,),)}, "places of another output"),
        ({OUTPUT: (None, (2, 0))}, "do not rise"),
        ({OUTPUT: (None, (1, 1))}, "do not rise"),
    ],
)
def test_places_that_an_output_does_not_have_are_refused(tmp_path: Path, sampled: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        with_golden(tmp_path, sampled=sampled)


def of_other_kernels(max_abs: float, **engine: str) -> OtherKernels:
    build = kernels.build_of("tflite")
    assert build is not None
    verified = msgspec.structs.replace(build, **engine)
    held = KernelTolerance(max_abs=(max_abs,), min_share=1.0)
    return OtherKernels(engines={"tflite": verified}, tolerance={"tflite:float32": {OUTPUT: held}})


STRICT = {"tflite:float32": {OUTPUT: Tolerance(max_abs=0)}}
"""No engine but the one that made the golden outputs holds this."""


@pytest.mark.parametrize("engine", [{"version": "0.0.1"}, {"machine": "riscv64"}, {"answers": "0" * 64}])
def test_another_engine_than_the_verified_one_is_held_to_its_own_tolerance(
    tmp_path: Path, engine: dict[str, str]
) -> None:
    check(with_golden(tmp_path, tolerance=STRICT, other_kernels=of_other_kernels(1e-4, **engine)))
    with pytest.raises(SelfTestError, match="100.0% of the values to be alike"):
        check(with_golden(tmp_path, tolerance=STRICT, other_kernels=of_other_kernels(0, **engine)))


def test_the_verified_engine_is_held_to_the_ordinary_tolerance(tmp_path: Path) -> None:
    with pytest.raises(SelfTestError, match="expected an error of at most 0"):
        check(with_golden(tmp_path, tolerance=STRICT, other_kernels=of_other_kernels(1e9)))


def test_what_nothing_is_said_of_is_held_to_the_ordinary_tolerance(tmp_path: Path) -> None:
    nothing = msgspec.structs.replace(of_other_kernels(1e9, version="0.0.1"), tolerance={"tflite:float32": {}})
    with pytest.raises(SelfTestError, match="expected an error of at most 0"):
        check(with_golden(tmp_path, tolerance=STRICT, other_kernels=nothing))


def test_tolerances_of_outputs_that_there_are_not_are_refused(tmp_path: Path) -> None:
    held, rows = KernelTolerance(max_abs=(1.0,), min_share=1.0), {"tflite:float32": ((OUTPUT,),)}
    for other in (
        OtherKernels(engines={}, tolerance={"tflite:int8": {}}),
        OtherKernels(engines={}, tolerance={"tflite:float32": {"z": held}}),
        OtherKernels(engines={}, tolerance={"tflite:float32": {}}, rows=dict(rows)),
    ):
        with pytest.raises(ValueError, match="tolerances for other kernels"):
            with_golden(tmp_path, other_kernels=other)
