from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from edgemm import canonical
from edgemm.errors import NewerFormatError
from edgemm.messages import Stream
from edgemm_runtime.agent.spool.settings import SpoolSettings
from edgemm_runtime.agent.spool.spool import Spool
from edgemm_runtime.agent.state.documents import BootFile, IdentityFile, ModelFile
from edgemm_runtime.agent.state.files import STATE_FILES, StateFile, WhenNewer, state_file
from edgemm_runtime.agent.state.state_folder import StateFolder
from tests.golden.databases.shapes import fingerprint_of
from tests.golden.device import shapes

ASIDE = [name for name, file in STATE_FILES.items() if file.when_newer is WhenNewer.PUT_ASIDE]
HOW = (
    "raise its shape's number in state/files.py: the minor where agents of before still read it, else the major and "
    "its `v`; then `python -m tests.golden.device.shapes`, and a golden file of it in tests/golden/state.py"
)
SPOOL = SpoolSettings(boot="f" * 16, boot_count=5, max_bytes=10_000)


@pytest.mark.parametrize("name", shapes.numbers())
def test_a_shape_does_not_change_without_its_number(name: str) -> None:
    number = shapes.numbers()[name]
    assert number in shapes.recorded()[name], f"{name} {number} has no fingerprint: {HOW}"
    assert shapes.found(name) == shapes.recorded()[name][number]["fingerprint"], f"{name} is not {number}: {HOW}"


@pytest.mark.parametrize("name", shapes.numbers())
def test_each_number_that_ever_was_has_a_golden_file(name: str) -> None:
    assert name in shapes.recorded()
    for facts in shapes.recorded()[name].values():
        assert (shapes.FOLDER / facts["golden"]).is_file()


@pytest.mark.parametrize(("name", "file"), STATE_FILES.items())
def test_the_major_of_a_shape_is_what_is_written(name: str, file: StateFile) -> None:
    (field,) = (f for f in msgspec.structs.fields(file.kind) if f.name == "v")
    assert str(field.default) == file.shape.split(".", maxsplit=1)[0]


def test_a_field_more_is_another_shape_and_other_words_about_it_are_not() -> None:
    class Same(msgspec.Struct, frozen=True):
        """One."""

        v: int = 1

    plain = fingerprint_of(Same)
    Same.__doc__ = "Another."
    assert fingerprint_of(Same) == plain
    assert fingerprint_of(msgspec.defstruct("Same", [("v", int, 1), ("more", str | None, None)])) != plain
    assert fingerprint_of(msgspec.defstruct("Same", [("v", int, 2)])) != plain


def _write_newer(path: Path, name: str) -> tuple[str, bytes]:
    """Write what a newer agent might, and return its name and bytes."""
    name = "models/tiny.json" if name == "models" else name
    data = canonical.encode({"v": 2, "name": "tiny", "count": "many", "since": [1, 2]})
    (path / name).write_bytes(data)
    return name, data


@pytest.mark.parametrize("kind", ASIDE)
def test_a_file_of_a_newer_agent_is_put_aside_and_told(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = StateFolder(tmp_path)
    name, data = _write_newer(tmp_path, kind)
    assert folder.read(name, state_file(name).kind) is None
    assert (tmp_path / f"{name}.v2").read_bytes() == data
    assert not (tmp_path / name).exists()
    assert folder.put_aside == {name: 2}
    assert f"{name}: document version 2 is newer than 1, which this edgemm reads: upgrade edgemm" in caplog.text
    assert folder.read_models() == {}
    folder.close()


def test_who_the_device_is_has_no_second_source_and_is_refused_by_name(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    name, data = _write_newer(tmp_path, "identity.json")
    with pytest.raises(NewerFormatError, match=r"identity\.json: document version 2 is newer than 1, .*upgrade edgemm"):
        folder.read(name, IdentityFile)
    assert (tmp_path / name).read_bytes() == data
    folder.close()


def test_the_directors_keys_are_fetched_again(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    name, data = _write_newer(tmp_path, "director.json")
    assert folder.read(name, state_file(name).kind) is None
    assert (tmp_path / name).read_bytes() == data, "until the fetched ones take its place"
    folder.close()


def test_what_was_put_aside_twice_is_there_as_it_was_last(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    for count in (1, 2):
        (tmp_path / "boot.json").write_bytes(canonical.encode({"v": 2, "count": count}))
        assert folder.read("boot.json", BootFile) is None
    assert (tmp_path / "boot.json.v2").read_bytes() == canonical.encode({"v": 2, "count": 2})
    folder.close()


@pytest.mark.parametrize(
    ("data", "read"),
    [
        (b'{"count":3}', BootFile(count=3)),
        (b'{"count":3,"v":1}', BootFile(count=3)),
        (b'{"count":3,"since":"monday","v":1}', BootFile(count=3)),
        (b'{"count":3,"v":0}', None),
        (b'{"count":3,"v":"2"}', None),
        (b'{"count":3,"v":true}', None),
    ],
)
def test_a_file_without_a_version_is_of_the_first_and_a_later_minor_is_read(
    tmp_path: Path, data: bytes, read: BootFile | None
) -> None:
    folder = StateFolder(tmp_path)
    (tmp_path / "boot.json").write_bytes(data)
    assert folder.read("boot.json", BootFile) == read
    assert folder.put_aside == {}
    folder.close()


def test_a_model_of_a_newer_agent_keeps_the_others_from_nothing(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    folder.write_model(ModelFile(name="digits", serial=4))
    _write_newer(tmp_path, "models")
    assert folder.read_models() == {"digits": ModelFile(name="digits", serial=4)}
    folder.close()


def test_a_spool_of_a_newer_agent_is_put_aside_and_its_messages_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "spool.sqlite"
    spool = Spool(path, SPOOL)
    for sequence in (1, 2):
        assert spool.add(Stream.EVENT, b"{}", sequence=sequence)
    spool.close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 2")
        database.execute("ALTER TABLE message ADD COLUMN urgent INTEGER")
    before = path.read_bytes()
    spool = Spool(path, SPOOL)
    assert spool.after(0, limit=10) == []
    assert spool.gauges().dropped == 2
    assert spool.add(Stream.EVENT, b"{}", sequence=1)
    spool.close()
    with closing(sqlite3.connect(tmp_path / "spool.sqlite.v2")) as aside:
        assert aside.execute("SELECT count(*) FROM message").fetchone() == (2,)
        assert aside.execute("PRAGMA user_version").fetchone() == (2,)
    assert (tmp_path / "spool.sqlite.v2").read_bytes() == before
    assert "spool of a newer agent put aside" in caplog.text


def test_a_spool_of_a_newer_agent_with_other_tables_is_put_aside_too(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE item (id INTEGER)")
        database.execute("PRAGMA user_version = 3")
    spool = Spool(path, SPOOL)
    assert spool.gauges().dropped == 0
    spool.close()
    assert (tmp_path / "spool.sqlite.v3").exists()


def test_the_spools_number_is_that_of_the_file(tmp_path: Path) -> None:
    Spool(tmp_path / "spool.sqlite", SPOOL).close()
    with closing(sqlite3.connect(tmp_path / "spool.sqlite")) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
    assert str(version) == shapes.numbers()[shapes.SPOOL].split(".", maxsplit=1)[0]
