"""A device serves of a later version's bundle what it knows, and says by name what it does not."""

from __future__ import annotations

import json

import numpy as np
import pytest

import edgemm_runtime
from edgemm.bundle import open_bundle
from edgemm.cli import run
from edgemm.errors import EngineUnavailableError, NewerFormatError
from edgemm_runtime import engines
from edgemm_runtime.engines.choice import choose
from simulators.models import Dense
from tests.golden.unknown import BUNDLES, KNOWN, path_of

ROW = np.array([[0.5, -1, 0.25, 1]], np.float32)
EXPECTED = Dense.random(5).predict(ROW)
SERVED = [name for name, (_, told) in BUNDLES.items() if told.served and KNOWN in told.variants]


@pytest.mark.parametrize("name", SERVED)
def test_what_is_known_is_served(name: str) -> None:
    model = edgemm_runtime.load(path_of(name))
    assert model.variant.id == KNOWN
    assert np.allclose(model.predict(ROW)["scores"], EXPECTED, atol=1e-5)


@pytest.mark.parametrize(("name", "variant"), [("engine", "acme-npu:int8"), ("dtype", "tflite:posit")])
def test_a_policy_may_name_what_is_unknown(name: str, variant: str) -> None:
    model = edgemm_runtime.load(path_of(name), variant=f"{variant},{KNOWN}")
    assert model.variant.id == KNOWN
    with pytest.raises(EngineUnavailableError, match=f"no variant can run here: {variant} .*does not know"):
        edgemm_runtime.load(path_of(name), variant=variant)


def test_without_a_known_variant_the_engines_are_named() -> None:
    with pytest.raises(EngineUnavailableError, match="for engine 'acme-npu', which edgemm .* does not know: upgrade"):
        edgemm_runtime.load(path_of("only-engines"))


def test_a_signature_of_an_unknown_dtype_is_refused_by_name() -> None:
    with pytest.raises(NewerFormatError, match="tensor 'x': dtype posit16 .* upgrade edgemm"):
        edgemm_runtime.load(path_of("signature"))
    with open_bundle(path_of("signature")) as bundle:
        [variant] = bundle.manifest.variants
        with pytest.raises(NewerFormatError, match="posit16"):
            choose(bundle.manifest, policy=(KNOWN,), engines=engines.available())
        with pytest.raises(EngineUnavailableError, match="tensor 'x' of dtype 'posit16'"):
            engines.load(variant, bundle.manifest.signature, bundle.read(variant.blob))


@pytest.mark.parametrize(
    ("name", "results"),
    [
        ("engine", {"acme-npu:int8": "not run", KNOWN: "passed"}),
        ("precision", {"tflite:ternary": "not run", KNOWN: "passed"}),
        ("dtype", {"tflite:posit": "not run", KNOWN: "passed"}),
        ("layout", {KNOWN: "passed"}),
        ("statistic", {KNOWN: "passed"}),
    ],
)
def test_verify_runs_what_is_known(name: str, results: dict[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(path_of(name)), "--json"]) == 0
    found = json.loads(capfd.readouterr().out)["variants"]
    assert {check["variant"]: check["result"] for check in found} == results


@pytest.mark.parametrize(("name", "word"), [("only-engines", "'acme-npu'"), ("signature", "'posit16'")])
def test_verify_that_can_run_nothing_says_why(name: str, word: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(path_of(name))]) == 1
    told = capfd.readouterr()
    assert "blobs and the container hold" in told.out
    assert word in told.err
    assert "upgrade edgemm" in told.err
