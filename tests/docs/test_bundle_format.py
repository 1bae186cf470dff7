"""docs/bundle-format.md says what the code does."""

import dataclasses
from enum import Enum

import pytest
from msgspec import Struct

from edgemm.bundle import column_figures, container, manifest, open_bundle, other_kernels
from edgemm.bundle.bundle_limits import DEFAULT_LIMITS
from edgemm.bundle.engine_facts import Engine
from edgemm.bundle.manifest import (
    ChannelOrder,
    DType,
    ImageFit,
    LabelKind,
    Layout,
    PadPlace,
    Precision,
    ResizeKernel,
    Statistic,
)
from tests.docs.pages import DOCS, tables
from tests.docs.sections import check_enum, check_struct, structs
from tests.golden.vector import FOLDER

PAGE = DOCS / "bundle-format.md"
BUNDLE = FOLDER / "bundle" / "digits-1.0.0.edgemm"


@pytest.mark.parametrize(
    "kind", [*structs(manifest), *structs(column_figures), *structs(other_kernels)], ids=lambda kind: kind.__name__
)
def test_every_field_of_the_manifest_is_described(kind: type[Struct]) -> None:
    check_struct(PAGE, kind)


@pytest.mark.parametrize(
    "kind",
    [DType, Engine, Precision, Statistic, LabelKind, ImageFit, ResizeKernel, PadPlace, ChannelOrder, Layout],
    ids=lambda kind: kind.__name__,
)
def test_every_value_is_listed(kind: type[Enum]) -> None:
    check_enum(PAGE, kind)


def test_the_limits_are_those_of_a_reader() -> None:
    said = {row[0].strip("`"): row[1] for row in tables(PAGE)["How a reader opens a file"]}
    fields = {f.name: f"{getattr(DEFAULT_LIMITS, f.name):,}" for f in dataclasses.fields(DEFAULT_LIMITS)}
    assert said == {**fields, "variants": "32", "blobs": "4,096"}


def test_the_headers_are_byte_for_byte_those_of_the_golden_bundle() -> None:
    local, central, end = _split(tables(PAGE)["The file"])
    data = BUNDLE.read_bytes()
    with open_bundle(BUNDLE) as bundle:
        entries = container.layout(bundle.manifest, manifest_bytes=len(bundle.manifest_bytes))
    _check(data, entries[0].header_offset, local, name_bytes=len(entries[0].name))
    _check(data, entries[-1].header_offset, local, name_bytes=len(entries[-1].name))
    directory = entries[-1].offset + entries[-1].size
    _check(data, directory, central, name_bytes=len(entries[0].name))
    _check(data, len(data) - 22, end, name_bytes=0)
    assert data[directory + 46 :].startswith(b"manifest.json")


def _split(rows: list[list[str]]) -> list[list[list[str]]]:
    """Cut the rows of three tables, each of which begins at offset 0, and check that no byte is left undescribed."""
    starts = [i for i, row in enumerate(rows) if row[0] == "0"]
    cut = [rows[a:b] for a, b in zip(starts, [*starts[1:], len(rows)], strict=True)]
    for table in cut:
        fixed = [(int(offset), int(size)) for offset, size, *_ in table if size != "n"]
        assert [offset for offset, _ in fixed] == [sum(size for _, size in fixed[:i]) for i in range(len(fixed))]
    assert [sum(int(size) for _, size, *_ in table if size != "n") for table in cut] == [30, 46, 22]
    return cut


def _check(data: bytes, base: int, table: list[list[str]], *, name_bytes: int) -> None:
    for offset, size, value, what in table:
        if value and size != "n":
            found = data[base + int(offset) :][: int(size)]
            if value.startswith("`"):
                expected = bytes.fromhex(value.strip("`"))
            else:
                expected = (name_bytes if value == "n" else int(value)).to_bytes(int(size), "little")
            assert found == expected, what
