"""What native code writes to stderr while a model loads: its INFO lines are logged, nothing else is lost."""

from __future__ import annotations

import errno
import logging
import os
import threading

import pytest

from edgemm_runtime.engines import native_log


def test_info_lines_go_to_the_log_and_all_others_through(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), native_log.in_the_log():
        os.write(2, b"INFO: Created a delegate.\nWARNING: odd\n")
        os.write(2, b"a line of another thread\nand half of one")
    assert capfd.readouterr().err == "WARNING: odd\na line of another thread\nand half of one"
    assert [r.getMessage() for r in caplog.records] == ["engine says Created a delegate."]


def test_stderr_is_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), native_log.in_the_log():
        raise ZeroDivisionError
    os.write(2, b"here\n")
    assert capfd.readouterr().err == "here\n"


def test_many_threads_leave_stderr_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    before = os.fstat(2)

    def work() -> None:
        for _ in range(50):
            with native_log.in_the_log():
                os.write(2, b"INFO: one\ntwo\n")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (os.fstat(2).st_dev, os.fstat(2).st_ino) == (before.st_dev, before.st_ino)
    assert capfd.readouterr().err == "two\n" * 200


def test_a_process_without_stderr_loads_all_the_same() -> None:
    stderr = os.dup(2)
    os.close(2)
    try:
        with native_log.in_the_log():
            ran = True
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
    assert ran


def test_without_room_for_another_file_a_model_loads_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    before = len(os.listdir("/proc/self/fd"))
    for name in ("memfd_create", "dup"):
        with monkeypatch.context() as short:
            short.setattr(os, name, full)
            with native_log.in_the_log():
                pass
    assert len(os.listdir("/proc/self/fd")) == before
