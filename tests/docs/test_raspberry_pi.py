"""docs/raspberry-pi.md: what can be run without a Pi is run here."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import footprint
from edgemm_runtime.service.unit import WATCHDOG_S
from simulators.models import make_bundle
from simulators.ports import free_port
from tests.docs.camera_model import CAPTURES, COLOURS, STEPS, NoMoreFrames, camera_module, write_colour_bundle
from tests.docs.commands import check
from tests.docs.pages import DOCS, ROOT, Block, blocks
from tests.docs.serving import running, served

PAGE = DOCS / "raspberry-pi.md"
BLOCKS = blocks(PAGE)
SYSTEM_PYTHON = Path("/usr/bin/python3")
BIN = Path(sys.executable).parent


def marked(marker: str) -> list[Block]:
    return [block for block in BLOCKS if block.marker == marker]


def one(marker: str) -> str:
    (block,) = marked(marker)
    return block.text


def group(pattern: str, text: str) -> str:
    """Return what the group of `pattern` matches in the first line of `text` that has it."""
    found = re.search(pattern, text, re.MULTILINE)
    assert found is not None, f"nothing like {pattern} in {text}"
    return found[1]


def unit(tmp_path: Path) -> Path:
    """Write the unit with the `edgemm` of this environment in place of the one under /opt."""
    path = tmp_path / "edgemm.service"
    path.write_text(one("systemd-unit").replace("/opt/edgemm/bin/edgemm", str(BIN / "edgemm")))
    return path


def systemd(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: apt install systemd")
    return subprocess.run(["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, check=False)


def test_every_block_says_how_it_is_tested() -> None:
    known = {
        "pep-668",
        "run",
        "pi-only",
        "needs-fleet",
        "needs-device",
        "systemd-unit",
        "camera-http",
        "camera-in-process",
    }
    assert {block.marker for block in BLOCKS} == known


@pytest.mark.slow
@pytest.mark.parametrize("block", marked("run"), ids=str)
def test_a_block_runs(block: Block, tmp_path: Path) -> None:
    make_bundle(tmp_path / "tiny-1.0.0.edgemm")
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", block.text],
        cwd=tmp_path,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "bash"], ids=str)
def test_a_shell_block_is_well_formed(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_debian_refuses_pip_with_the_message_on_the_page() -> None:
    if not list(Path("/usr/lib").glob("python3*/EXTERNALLY-MANAGED")):
        pytest.skip("this system's Python is not managed by apt")
    command = [str(SYSTEM_PYTHON), "-m", "pip", "install", "--no-index", "edgemm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No module named pip" in done.stderr:
        pytest.skip("this system's Python has no pip: apt install python3-pip")
    assert done.stderr.startswith(one("pep-668"))


def test_the_readme_and_the_page_install_alike_and_as_it_was_weighed() -> None:
    page = [line.partition("/opt/edgemm/bin/")[2] for line in lines_with("edgemm[runtime]", BLOCKS)]
    assert lines_with("edgemm[runtime]", blocks(ROOT / "README.md"))[:1] == page[:1]
    assert shlex.split(page[0])[:-1] == ["pip", "install", "--no-compile", "-c", footprint.CONSTRAINTS.name]
    assert footprint.CONSTRAINTS.is_file()
    assert "cp constraints-device.txt dist/" in (ROOT / "scripts" / "build").read_text()


def test_what_the_page_has_compiled_is_what_a_device_loads() -> None:
    [line] = lines_with("edgemm_runtime.agent.main", BLOCKS)
    program = shlex.split(line)[-1]
    assert program in (ROOT / "scripts" / "test-arm64").read_text()
    assert set(program.removeprefix("import ").split(", ")) < set(footprint.LOADED)


def test_all_pages_tell_one_size_of_the_installation() -> None:
    told = {
        page.name: set(re.findall(r"(\d+) MB\s+without pip", page.read_text()))
        for page in (PAGE, DOCS / "platforms.md", ROOT / "README.md")
    }
    [size] = set.union(*told.values())
    assert all(told.values()), told
    assert int(size) <= footprint.GOAL_MB


def test_the_readme_says_that_32_bit_is_not_supported_and_why() -> None:
    said = " ".join((ROOT / "README.md").read_text().split())
    assert re.search(r"32-bit ARM is not supported.{,200}armv7l.{,200}no wheels", said)


def lines_with(text: str, some_blocks: list[Block]) -> list[str]:
    return [line for block in some_blocks for line in block.text.splitlines() if text in line]


def test_the_unit_is_one_that_systemd_accepts(tmp_path: Path) -> None:
    done = systemd("verify", unit(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_is_as_closed_as_the_page_says(tmp_path: Path) -> None:
    done = systemd("security", "--offline=true", "--no-pager", unit(tmp_path))
    if "offline" in done.stderr:
        pytest.skip("this systemd-analyze has no offline mode")
    found = float(group(r"exposure level for edgemm.service: ([\d.]+)", done.stdout))
    said = float(group(r"an exposure of ([\d.]+)", PAGE.read_text()))
    assert found <= said


def test_the_unit_starts_a_command_that_exists_with_its_options() -> None:
    program, *arguments = shlex.split(group(r"^ExecStart=(.+)$", one("systemd-unit")))
    assert program == "/opt/edgemm/bin/edgemm"
    check(arguments)


def test_the_unit_is_the_one_that_the_command_writes() -> None:
    program, _, *arguments = shlex.split(group(r"^ExecStart=(.+)$", one("systemd-unit")))
    done = subprocess.run([BIN / "edgemm", "service", "show", *arguments], capture_output=True, text=True, check=False)
    assert done.stdout.replace(str(BIN / "edgemm"), program) == one("systemd-unit"), done.stderr


def test_a_unit_that_is_wrong_would_be_noticed(tmp_path: Path) -> None:
    path = unit(tmp_path)
    path.write_text(path.read_text().replace("Restart=always", "Restart=sometimes"))
    assert "sometimes" in systemd("verify", path).stderr


def test_the_unit_has_what_the_page_promises() -> None:
    text = one("systemd-unit")
    promised = ("Type=notify", "Restart=always", "StateDirectory=edgemm", "DynamicUser=yes", "ProtectSystem=strict")
    for line in (*promised, f"WatchdogSec={WATCHDOG_S}"):
        assert f"\n{line}\n" in text


@pytest.mark.parametrize("labels", [COLOURS, None])
def test_the_camera_loop_in_one_process_sees_blue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], labels: tuple[str, ...] | None
) -> None:
    write_colour_bundle(tmp_path / "camera-1.0.0.edgemm", labels=labels, steps=STEPS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "picamera2", camera_module())
    with pytest.raises(NoMoreFrames):
        exec(compile(one("camera-in-process"), "page", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == CAPTURES
    expected = "[[Top(label='blue', score=1.0" if labels else "{'colour': array([[0., 0., 1.]]"
    assert all(line.startswith(expected) for line in lines), lines


@pytest.mark.slow
@pytest.mark.parametrize("labels", [COLOURS, None])
def test_the_camera_loop_over_http_sees_blue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], labels: tuple[str, ...] | None
) -> None:
    write_colour_bundle(tmp_path / "camera-1.0.0.edgemm", labels=labels, steps=STEPS)
    monkeypatch.setitem(sys.modules, "picamera2", camera_module())
    with served(tmp_path / "camera-1.0.0.edgemm") as address, pytest.raises(NoMoreFrames):
        code = one("camera-http").replace("http://127.0.0.1:8080", address)
        exec(compile(code, "page", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == CAPTURES
    expected = "[{'label': 'blue', 'score': 1.0" if labels else "{'colour': [[0.0, 0.0, 1.0]]"
    assert all(line.startswith(expected) for line in lines), lines


@pytest.mark.slow
def test_the_camera_loop_over_http_ends_with_what_the_server_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_colour_bundle(tmp_path / "camera-1.0.0.edgemm")
    monkeypatch.setitem(sys.modules, "picamera2", camera_module())
    with served(tmp_path / "camera-1.0.0.edgemm") as address, pytest.raises(SystemExit, match="does not declare how"):
        code = one("camera-http").replace("http://127.0.0.1:8080", address)
        exec(compile(code, "page", "exec"), {})


@pytest.mark.slow
def test_the_service_enrols_by_the_token_of_its_environment_and_later_starts_need_none(tmp_path: Path) -> None:
    server, broker = (free_port() for _ in range(2))
    url = f"https://localhost:{server}"
    env = os.environ | {"XDG_CONFIG_HOME": str(tmp_path / "config"), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}

    def edgemm(*arguments: str) -> str:
        return subprocess.run(["edgemm", *arguments], env=env, capture_output=True, text=True, check=True).stdout

    def service() -> list[str]:
        line = group(r"^ExecStart=\S+ (.+)$", one("systemd-unit"))
        return [
            *shlex.split(line.replace("https://fleet.example:8443", url).replace("%S", str(tmp_path))),
            "--port",
            "0",
        ]

    admin = json.loads(edgemm("fleet", "init", str(tmp_path / "fleet"), "--public-url", url, "--json"))["token"]
    serve = ["fleet", "serve", str(tmp_path / "fleet"), "--broker", f"embedded:{broker}"]
    with running(serve, until="serving fleet", env=env):
        edgemm("fleet", "login", url, "--token", admin)
        shown = subprocess.run(
            ["bash", "-euc", one("needs-fleet")], env=env, capture_output=True, text=True, check=True
        )
        token = group(r"(emt1_[\w-]+)", shown.stdout)
        with running(service(), until=r"connected device=(\S+)", env=env | {"EDGEMM_TOKEN": token}) as match:
            first = match[1]
        with running(service(), until=r"connected device=(\S+)", env=env) as match:
            assert match[1] == first
            assert f'"{first}"' in edgemm("fleet", "devices", "list", "--json")
