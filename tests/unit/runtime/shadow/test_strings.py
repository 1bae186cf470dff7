"""Shadows of models of strings: requests reach them whole, and labels agree or do not."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgemm.bundle import open_bundle
from edgemm.bundle.manifest import DType, TensorSpec
from edgemm_runtime import load
from edgemm_runtime.engines import golden
from edgemm_runtime.shadow import child
from edgemm_runtime.shadow.agreement import ErrorDistribution
from edgemm_runtime.shadow.counting import Kind, compare, comparisons, incompatibility
from edgemm_runtime.shadow.shadow_protocol import Burst, Sample, pack, unpack
from simulators.tables import ROWS, arrays, make_table


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("shadow") / "visits-1.0.0.edgemm"
    make_table(path)
    return path


def test_strings_cross_to_the_shadows_process() -> None:
    given = arrays([*ROWS, ROWS[0]._replace(city="nul\0, ö😀\0")])
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(Sample(pack(given), {})), type=Sample)
    found = unpack(sent.inputs)
    for name, array in given.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert np.array_equal(found[name], array, equal_nan=name == "age")


def test_a_shadow_answers_and_its_labels_are_counted(path: Path) -> None:
    model = load(path)
    with open_bundle(path) as source:
        how = comparisons(source.manifest, golden.read_samples(source).outputs)
    assert {one.output: (one.kind, one.range) for one in how}["label"] == (Kind.VALUES, 1.0)
    answers = model.predict(arrays(ROWS))
    other = dict(answers) | {"label": np.array(["bleibt", "anders", "bleibt"], object)}
    samples = tuple(Sample(pack(arrays(ROWS)), pack(told)) for told in (answers, other))
    told = child.answer(Burst(samples), model.loaded, how)
    assert (told.compared, told.errors, told.message) == (2, 0, "")
    label = told.agreement["label"]
    assert isinstance(label, ErrorDistribution)
    assert (label.values, label.counts[0], label.above, label.below) == (6, 5, 0, 0)
    assert compare(how, answers, answers)["seen"] == ErrorDistribution((3, *[0] * (len(label.counts) - 1)))


def test_a_label_is_not_compared_with_a_number(path: Path) -> None:
    with open_bundle(path) as source:
        manifest = source.manifest
    assert incompatibility(manifest, manifest) is None
    inputs = tuple(msgspec.structs.replace(spec, missing=msgspec.UNSET) for spec in manifest.signature.inputs)
    strict = msgspec.structs.replace(manifest, signature=msgspec.structs.replace(manifest.signature, inputs=inputs))
    assert incompatibility(manifest, strict) is None
    active = msgspec.structs.replace(manifest.signature, outputs=manifest.signature.outputs[:1])
    numbers = TensorSpec(name="label", dtype=DType.INT64, shape=(-1,))
    shadow = msgspec.structs.replace(active, outputs=(numbers,))

    class Of:
        """A manifest as far as it is looked at here."""

        stateful = False

        def __init__(self, signature: object) -> None:
            self.signature = signature

    assert "string[-1]" in str(incompatibility(Of(active), Of(shadow)))  # type: ignore[arg-type]
