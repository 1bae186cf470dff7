"""What a repeat of a conversion takes from the cache, and when it takes nothing."""

import hashlib
import os
from pathlib import Path

import pytest

from edgemm.bundle import open_bundle
from edgemm_converter.cache.cache import Cache, CachedConversion, ConversionOutcome
from edgemm_converter.children.protocol import TrialFacts

BUNDLE = Path(__file__).parents[3] / "golden" / "bundle" / "digits-1.0.0.edgemm"

KEY, OTHER = "0" * 64, "1" * 64


@pytest.fixture(scope="module")
def entry() -> CachedConversion:
    with open_bundle(BUNDLE) as bundle:
        trial = TrialFacts(
            precision=bundle.manifest.variants[0].precision, float_layers=(), size=1, drop=None, refused=""
        )
        outcome = ConversionOutcome(digest=bundle.digest, left_out={"a": "b"}, warnings=("c",), trials=(trial,))
        return CachedConversion(outcome, bundle.manifest, BUNDLE.read_bytes(), b"<html>", b"{}\n")


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_what_was_put_is_what_is_got(entry: CachedConversion, tmp_path: Path) -> None:
    Cache(tmp_path / "deep" / "er").put(KEY, entry)
    assert Cache(tmp_path / "deep" / "er").get(KEY) == entry
    assert Cache(tmp_path / "deep" / "er").get(OTHER) is None


def test_any_changed_byte_is_noticed_and_the_entry_removed(entry: CachedConversion, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put(KEY, entry)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    damages = [whole[:-1], whole + b"x", b"", whole[:64]]
    for position in (0, 70, whole.index(b"\n") + 200, len(whole) - 1):
        damages.append(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
    for damaged in damages:
        path.write_bytes(damaged)
        assert cache.get(KEY) is None
        assert not path.exists()


def test_an_entry_of_another_version_is_no_error(tmp_path: Path) -> None:
    for rest in (b'{"kept": 1}\n', b"no header at all"):
        path = tmp_path / f"{KEY}.conversion"
        path.write_bytes(hashlib.sha256(rest).hexdigest().encode() + rest)
        assert Cache(tmp_path).get(KEY) is None
        assert not path.exists()


def test_a_full_cache_lets_go_of_what_was_used_longest_ago(entry: CachedConversion, tmp_path: Path) -> None:
    Cache(tmp_path).put(KEY, entry)
    each = size_of(tmp_path)
    cache = Cache(tmp_path, max_bytes=3 * each)
    keys = [str(number) * 64 for number in range(4)]
    for age, key in enumerate(keys[:3]):
        cache.put(key, entry)
        os.utime(tmp_path / f"{key}.conversion", (1000 + age, 1000 + age))
    assert cache.get(keys[0]) is not None  # used now, so that the next one is the oldest
    cache.put(keys[3], entry)
    assert {key for key in keys if cache.get(key)} == {keys[0], keys[2], keys[3]}
    assert size_of(tmp_path) <= cache.max_bytes


def test_an_entry_larger_than_the_cache_is_not_kept(entry: CachedConversion, tmp_path: Path) -> None:
    Cache(tmp_path, max_bytes=1000).put(KEY, entry)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_goes_after_an_hour(entry: CachedConversion, tmp_path: Path) -> None:
    old, young = tmp_path / ".part-old", tmp_path / ".part-young"
    for part in (old, young):
        part.write_bytes(b"x")
    os.utime(old, (1000, 1000))
    Cache(tmp_path).put(KEY, entry)
    assert not old.exists()
    assert young.exists()


def test_a_folder_that_cannot_be_made_or_written_is_no_error(
    entry: CachedConversion, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    cache = Cache(tmp_path / "file" / "cache")
    cache.put(KEY, entry)
    assert cache.get(KEY) is None
    assert "conversion not cached" in caplog.text


def test_a_disk_without_room_is_no_error_and_leaves_nothing(
    entry: CachedConversion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", no_room)
    Cache(tmp_path).put(KEY, entry)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"EDGEMM_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/edgemm"),
        ({"XDG_CACHE_HOME": "relative"}, "~/.cache/edgemm"),
        ({}, "~/.cache/edgemm"),
    ],
)
def test_where_the_cache_lies(environment: dict[str, str], folder: str) -> None:
    found = Cache.of_environment(environment)
    assert found is not None
    assert found.folder == Path(folder).expanduser()


def test_an_empty_folder_name_means_no_cache() -> None:
    assert Cache.of_environment({"EDGEMM_CACHE": ""}) is None
