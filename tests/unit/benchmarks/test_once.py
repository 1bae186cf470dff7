"""What several tests look at is made once in a run, by content, and tried again where it could not be made."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.once import named, once


def test_whoever_comes_first_makes_it_and_the_others_wait_for_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    begun, go_on, made = threading.Event(), threading.Event(), []

    def make(folder: Path) -> None:
        begun.set()
        go_on.wait(60)
        (folder / "file").write_text("whole")
        made.append(folder)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(once, tmp_path_factory, "waited for", make)
        assert begun.wait(60)
        second = pool.submit(once, tmp_path_factory, "waited for", make)
        go_on.set()
        assert (first.result() / "file").read_text() == (second.result() / "file").read_text() == "whole"
    assert made == [first.result()]


def test_what_failed_is_made_anew_in_an_empty_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("no room")

    with pytest.raises(RuntimeError, match="no room"):
        once(tmp_path_factory, "failing", fail)
    folder = once(tmp_path_factory, "failing", lambda folder: (folder / "whole").touch())
    assert [path.name for path in folder.iterdir()] == ["whole"]


def test_a_name_is_that_of_words_and_of_what_is_in_files(tmp_path: Path) -> None:
    for folder, content in (("a", "one"), ("b", "one"), ("c", "other")):
        (tmp_path / folder / "model").mkdir(parents=True)
        (tmp_path / folder / "model" / "weights").write_text(content)
    one, same, other = (named("convert", tmp_path / folder / "model", "--json") for folder in "abc")
    assert one == same
    assert len({one, other, named("convert", tmp_path / "a" / "model")}) == 3
