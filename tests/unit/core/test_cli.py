import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import click
import pytest
from msgspec.structs import replace

from edgemm import cli
from edgemm.bundle.manifest import Drop
from edgemm.cli import COMMANDS, LazyCommand, LazyGroup
from tests.unit.core.bundles import CONTENT, small_bundle, small_manifest


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    status = cli.run([str(a) for a in argv])
    out, err = capsys.readouterr()
    return status, out, err


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from edgemm import cli; status = cli.run(['--help']);"
        "heavy = {'tensorflow', 'flask', 'numpy', 'onnx', 'paho', 'sqlalchemy', 'tuf', 'urllib3'} & set(sys.modules);"
        "sys.exit(status or (f'loaded {heavy}' if heavy else 0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


def test_inspect_shows_variants_and_parity(capsys: pytest.CaptureFixture[str], packed: Path) -> None:
    status, out, _ = run(capsys, "inspect", packed)
    assert status == 0
    for word in ("digits 1.0.0", "tflite:int8", "x float32[-1, 8]", "zero, one", "parity with the source"):
        assert word in out


def test_inspect_leaves_out_runs_that_were_recorded_and_not_judged(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    judged = small_manifest().parity[0]
    noise = replace(judged.outputs[0], max_abs=0.75, relative=0.75)
    recorded = replace(judged, data="random", limit=None, samples=1000, outputs=(noise,))
    small_bundle(tmp_path / "a.edgemm", parity=(judged, recorded))
    _, out, _ = run(capsys, "inspect", tmp_path / "a.edgemm")
    assert "1.0e-07" in out
    assert "7.5e-01" not in out


def test_inspect_shows_what_a_metric_lost_with_its_interval(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = small_manifest().evaluation
    assert found is not None
    drops = {variant: Drop(value=0.0125, low=-0.03, high=0.055) for variant in found.variants}
    small_bundle(tmp_path / "a.edgemm", evaluation=replace(found, source=0.875, drops=drops))
    _, out, _ = run(capsys, "inspect", tmp_path / "a.edgemm")
    assert "+0.0125, -0.0300 to +0.0550" in out
    assert "the source has 0.8750" in out


def test_inspect_json_is_the_manifest_and_nothing_else(capsys: pytest.CaptureFixture[str], packed: Path) -> None:
    status, out, err = run(capsys, "inspect", packed, "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["name"] == "digits"


def test_extract_writes_the_model_file(capsys: pytest.CaptureFixture[str], packed: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.tflite"
    status, out, _ = run(capsys, "extract", packed, "--variant", "tflite:int8", "-o", target)
    assert status == 0
    assert target.read_bytes() == CONTENT["int8"]
    assert str(target) in out


def test_a_damaged_bundle_fails_with_one_line(capsys: pytest.CaptureFixture[str], packed: Path) -> None:
    packed.write_bytes(packed.read_bytes()[:-5])
    status, out, err = run(capsys, "inspect", packed)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "fetch it again" in err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["inspect", "none.edgemm"], "cannot open"),
        (["inspect"], "Missing argument"),
        (["nonsense"], "No such command"),
        (["--nonsense"], "No such option"),
    ],
)
def test_usage_and_hopeless_input_end_with_two(capsys: pytest.CaptureFixture[str], argv: list[str], says: str) -> None:
    status, out, err = run(capsys, *argv)
    assert (status, out) == (2, "")
    assert says in err


def test_an_unknown_variant_names_those_there_are(
    capsys: pytest.CaptureFixture[str], packed: Path, tmp_path: Path
) -> None:
    status, _, err = run(capsys, "extract", packed, "--variant", "onnx:int4", "-o", tmp_path / "m")
    assert status == 2
    assert "it has tflite:int8, tflite:float32" in err
    assert not (tmp_path / "m").exists()


def test_a_missing_extra_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {"ghost": LazyCommand("tests.unit.core.needs_ghost:command", "Needs what is not there.", "fleet")}
    monkeypatch.setattr(cli, "edgemm", LazyGroup(table=table))
    status, _, err = run(capsys, "ghost")
    assert status == 1
    library, extra = "ghost_of_a_library", "edgemm[fleet]"
    assert err == f"error: this needs the Python package {library}, which is not installed: pip install '{extra}'\n"


def test_a_library_that_is_imported_late_is_missed_likewise(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command()
    def late() -> None:
        importlib.import_module("ghost_of_a_library")

    monkeypatch.setitem(sys.modules, "late_command", SimpleNamespace(command=late))
    table = {"late": LazyCommand("late_command:command", "Needs it when it runs.", "demo")}
    monkeypatch.setattr(cli, "edgemm", LazyGroup(table=table))
    status, _, err = run(capsys, "late")
    assert status == 1
    assert err.endswith("ghost_of_a_library, which is not installed: pip install 'edgemm[demo]'\n")


def test_ctrl_c_ends_with_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, packed: Path
) -> None:
    def interrupted(*args: object, **kwargs: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgemm.commands.bundle_tools.open_bundle", interrupted)
    status, _, err = run(capsys, "inspect", packed)
    assert status == 130
    assert err.strip() == "interrupted"


def test_a_reader_that_goes_away_is_no_crash(packed: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m edgemm inspect {packed} --json | head -c 1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "{"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_full_disk_under_stdout_is_told_in_one_line(packed: Path, more: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edgemm", "inspect", packed, *more],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "error: cannot write what is to be printed: No space left on device\n")


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_closed_stdout_is_told_in_one_line(packed: Path, more: list[str]) -> None:
    command = ["bash", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "edgemm", "inspect", str(packed), *more]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "error: cannot write what is to be printed: Bad file descriptor\n")


HELP = [["--help"], ["--version"], ["inspect", "-h"], ["fleet", "--help"], ["fleet", "rollout", "start", "--help"]]


def into(redirection: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-c", f'"$@" {redirection}', "sh", sys.executable, "-m", "edgemm", *arguments]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)


@pytest.mark.parametrize("arguments", HELP)
def test_what_is_to_be_printed_and_cannot_is_a_failure(arguments: list[str]) -> None:
    for redirection, reason in ((">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")):
        done = into(redirection, arguments)
        assert (done.returncode, done.stderr) == (1, f"error: cannot write what is to be printed: {reason}\n")
    done = into("| (exec <&-; exit 7)", arguments)
    assert (done.returncode, done.stderr) == (7, ""), "to a reader that went away nothing is said"


def test_no_file_that_is_opened_becomes_a_stdout_that_was_closed(tmp_path: Path) -> None:
    code = (
        "import os, sys; from edgemm.outlet import stdout; stdout.keep_place();"
        "file = open(sys.argv[1], 'w'); os.write(1, b'a library prints'); print(file.fileno(), file=sys.stderr)"
    )
    command = ["bash", "-c", 'exec "$@" >&- <&-', "sh", sys.executable, "-c", code, str(tmp_path / "fleet.db")]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=True)
    assert int(done.stderr) > 2
    assert (tmp_path / "fleet.db").read_text() == ""


@pytest.mark.parametrize("arguments", [["inspect", "x" * 3000], ["x" * 3000], ["inspect", "--x" + "y" * 3000]])
def test_an_error_repeats_no_argument_whole(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments) == 2
    said = capsys.readouterr().err
    assert "…" in said
    assert all(len(line) <= 1500 for line in said.splitlines())


def test_ctrl_c_while_the_command_line_is_loaded_is_one_line() -> None:
    code = (
        "import sys; sys.modules['click'] = type('Pressed', (), {'__getattr__': lambda *_: raised()})();"
        "raised = lambda: (_ for _ in ()).throw(KeyboardInterrupt()); import edgemm.__main__ as entry; entry.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_the_first_process_of_a_container_ends_by_sigterm_while_it_loads() -> None:
    code = (
        "import os, signal; os.getpid = lambda: 1; signal.signal(signal.SIGTERM, signal.SIG_IGN);"  # as the kernel does
        "import sys; sys.modules['click'] = type('Loaded', (), {'__getattr__': lambda *_: ended()})();"
        "ended = lambda: signal.raise_signal(signal.SIGTERM) or sys.exit('it goes on');"
        "import edgemm.__main__ as entry; entry.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")
