"""A repeat of a conversion takes the bundle of the first one; whatever is wrong with the cache, it is made anew."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import edgemm_converter
from edgemm.bundle import open_bundle
from tests.programs import environment
from tests.unit.converter.conftest import Conversions, Convert

pytestmark = pytest.mark.tensorflow
FOUND = "found among earlier conversions"


@pytest.fixture(scope="module")
def finished(converted: Convert, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `.tflite` file, whose conversion takes no TensorFlow."""
    first = converted("cnn.keras")
    path = tmp_path_factory.mktemp("finished") / "digits.tflite"
    with open_bundle(first.path) as bundle:
        path.write_bytes(bundle.read(bundle.manifest.variant("tflite:float32").blob))
    return path


def entries(cache: Path) -> list[Path]:
    return sorted(cache.glob("*.conversion"))


def test_a_repeat_has_the_same_bytes_report_and_result(models: Path, conversions: Conversions, tmp_path: Path) -> None:
    options = (models / "cnn.keras", "--target", "tflite", "--report", "page.html", "--json")
    folders = [tmp_path / "first", tmp_path / "second", tmp_path / "third"]
    runs = []
    for folder, more in zip(folders, ((), (), ("--no-cache",)), strict=True):
        folder.mkdir()
        runs.append(conversions.run(*options, *more, folder=folder, EDGEMM_CACHE=str(tmp_path / "cache")))
        assert runs[-1].status == 0, runs[-1].stderr
    assert [FOUND in run.stderr for run in runs] == [False, True, False]
    assert '"repeated": true' in runs[1].stdout
    assert runs[1].stdout.replace('"repeated": true', '"repeated": false') == runs[0].stdout
    first, second, third = ((folder / "cnn-0.1.0.edgemm").read_bytes() for folder in folders)
    assert first == second == third
    assert (folders[0] / "page.html").read_bytes() == (folders[1] / "page.html").read_bytes()
    assert len(entries(tmp_path / "cache")) == 1


def convert(source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, cache: Path, **options: Any) -> list[str]:
    """Convert in this process and return the stages."""
    monkeypatch.setenv("EDGEMM_CACHE", str(cache))
    stages: list[str] = []
    result = edgemm_converter.convert(source, output=folder / "out.edgemm", progress=stages.append, **options)
    assert result.repeated == (FOUND in stages)
    with open_bundle(result.path) as bundle:
        assert (bundle.digest, bundle.manifest) == (result.digest, result.manifest)
    return stages


def test_a_repeat_starts_no_child(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    assert FOUND not in convert(finished, tmp_path, monkeypatch, cache)
    first = (tmp_path / "out.edgemm").read_bytes()
    (tmp_path / "out.edgemm").unlink()
    monkeypatch.setattr("edgemm_converter.export.parent.run_child", lambda *_, **__: pytest.fail("a child was started"))
    assert FOUND in convert(finished, tmp_path, monkeypatch, cache)
    assert (tmp_path / "out.edgemm").read_bytes() == first


def test_another_option_or_byte_is_another_conversion(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    assert FOUND not in convert(finished, tmp_path, monkeypatch, cache)
    assert FOUND not in convert(finished, tmp_path, monkeypatch, cache, licence="CC0-1.0")
    assert FOUND in convert(finished, tmp_path, monkeypatch, cache, licence="CC0-1.0")
    changed = tmp_path / finished.name
    changed.write_bytes(finished.read_bytes() + bytes(4))
    assert FOUND not in convert(changed, tmp_path, monkeypatch, cache)
    assert len(entries(cache)) == 3


def test_a_damaged_entry_is_made_anew(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    convert(finished, tmp_path, monkeypatch, cache)
    first = (tmp_path / "out.edgemm").read_bytes()
    (path,) = entries(cache)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100] + bytes(100))
    assert FOUND not in convert(finished, tmp_path, monkeypatch, cache)
    assert (tmp_path / "out.edgemm").read_bytes() == first
    assert path.read_bytes() == whole


def test_a_cache_that_cannot_be_written_fails_nothing(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    assert FOUND not in convert(finished, tmp_path, monkeypatch, tmp_path / "file" / "cache")


def test_processes_share_a_cache(finished: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    started = []
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        command = [sys.executable, "-m", "edgemm", "convert", str(finished)]
        env = environment(EDGEMM_CACHE=str(cache))
        started.append(
            subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        )
    assert [process.wait() for process in started] == [0, 0, 0]
    assert len({(tmp_path / str(n) / "digits-0.1.0.edgemm").read_bytes() for n in range(3)}) == 1
    assert [path.name for path in cache.iterdir()] == [path.name for path in entries(cache)]
    assert len(entries(cache)) == 1
    assert os.stat(cache).st_mode & 0o077 == 0
