"""What a later version wrote is opened, checked and told; only what this version does not know is left out."""

from pathlib import Path

import msgspec
import pytest

from edgemm import canonical
from edgemm.bundle import open_bundle, unknowns
from edgemm.bundle.manifest import DType, decode_manifest, known_dtype
from edgemm.cli import run
from edgemm.errors import BundleError, InputError
from tests.golden.unknown import BUNDLES, KNOWN, path_of
from tests.unit.core.bundles import small_manifest

EACH = pytest.mark.parametrize("name", BUNDLES)


@EACH
def test_a_bundle_with_unknown_words_is_opened_and_written_again_byte_for_byte(name: str) -> None:
    with open_bundle(path_of(name)) as bundle:
        assert bundle.manifest.encode() == bundle.manifest_bytes
        assert canonical.sha256(bundle.manifest.encode()) == bundle.digest


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("engine", "variant acme-npu:int8 is skipped: it is for engine 'acme-npu', which edgemm"),
        ("only-engines", "variant acme-npu:int8 is skipped"),
        ("precision", "variant tflite:ternary is skipped: it is of precision 'ternary'"),
        ("dtype", "variant tflite:posit is skipped: it has a tensor 'x' of dtype 'posit16'"),
        ("signature", "not served: the model has a tensor 'x' of dtype 'posit16'"),
        ("layout", "input 'x' takes no images: its pre-processing is declared with layout 'planes'"),
        ("channels", "input 'x' takes no images: its pre-processing is declared with channels 'cmyk'"),
        ("fit", "input 'x' takes no images: its pre-processing is declared with fit 'tile'"),
        ("statistic", f"parity of {KNOWN} was judged by 'median'"),
    ],
)
def test_inspect_names_what_it_skips(name: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(path_of(name))]) == 0
    told = capsys.readouterr().out
    assert says in told
    assert told.count("upgrade edgemm") == 1


def test_inspect_says_nothing_where_all_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not list(unknowns.found_in(small_manifest()))


def test_the_file_of_an_unknown_variant_is_verified_like_any_other(tmp_path: Path) -> None:
    data = path_of("engine").read_bytes()
    at = data.index(b"a model file of a later version")
    (tmp_path / "flipped.edgemm").write_bytes(data[:at] + b"A" + data[at + 1 :])
    with pytest.raises(BundleError, match="fetch it again"):
        open_bundle(tmp_path / "flipped.edgemm")


def test_an_unknown_variant_is_extracted(tmp_path: Path) -> None:
    output = tmp_path / "model"
    assert run(["extract", str(path_of("engine")), "--variant", "acme-npu:int8", "-o", str(output)]) == 0
    assert output.read_bytes() == b"a model file of a later version"


@pytest.mark.parametrize("word", ["", "a b", "\x1b[31mred", "x" * 65, "ärger", 5, None])
def test_what_is_no_word_is_damage(word: object) -> None:
    raw = msgspec.to_builtins(small_manifest())
    raw["variants"] = [{**variant, "precision": word} for variant in raw["variants"]]
    with pytest.raises(BundleError, match="precision" if word in {5, None} else "is no word"):
        decode_manifest(canonical.encode(raw), path="m")


@pytest.mark.parametrize("word", ["", "acme npu", "Acme", "x" * 32])
def test_what_is_no_engine_is_damage(word: str) -> None:
    raw = msgspec.to_builtins(small_manifest())
    raw["variants"] = [{**variant, "engine": word} for variant in raw["variants"]]
    with pytest.raises(BundleError, match="engine"):
        decode_manifest(canonical.encode(raw), path="m")


def test_a_dtype_that_is_asked_for_by_name_is_a_known_one() -> None:
    assert known_dtype("int8") is DType.INT8
    with pytest.raises(ValueError, match="'posit16' is no dtype that edgemm serves"):
        known_dtype("posit16")


def test_a_variant_that_there_is_not_is_still_an_error() -> None:
    with open_bundle(path_of("engine")) as bundle, pytest.raises(InputError, match="it has acme-npu:int8, tflite"):
        bundle.manifest.variant("acme-npu:float32")
