"""The ten lines of the README from a model to a fleet, in a shell, in the order in which they stand there.

`tests/docs` compares each line with the command line; here they run. Conversion is left out (it needs TensorFlow, and a
made bundle takes its place), and addresses are of this machine.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from simulators.models import make_bundle
from simulators.mosquitto import free_port
from simulators.waiting import eventually
from tests.e2e.processes import Place, Programs, run_edgemm

pytestmark = [pytest.mark.runtime, pytest.mark.fleet, pytest.mark.slow]
ROOT = Path(__file__).parents[2]


def _lines() -> list[str]:
    readme = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```(?:bash|console)\n(.*?)```", readme, re.DOTALL)
    [story] = [block for block in blocks if "edgemm fleet init" in block]
    commands = [line.removeprefix("$ ").split(" #")[0].strip() for line in story.splitlines()]
    return [line for line in commands if line.startswith("edgemm ")]


def test_the_ten_lines_of_the_readme_run_in_the_order_in_which_they_stand(place: Place, programs: Programs) -> None:
    url = f"https://localhost:{free_port()}"
    make_bundle(place.folder / "digits-1.0.0.edgemm", name="digits", version="1.0.0")
    seen, token, invitation = [], "", ""
    for line in _lines():
        words = [re.sub(r"https://fleet\.example(:\d+)?", url, word) for word in shlex.split(line)[1:]]
        seen.append(" ".join(words[:2]))
        if words[0] == "convert":
            continue
        if words[0] == "run" and "--fleet" not in words:
            served = programs.start("run", *words, "--port", "0")
            served.wait_for(r"(http://\S+)")
            served.terminate()
        elif words[:2] == ["fleet", "serve"]:
            programs.start("serve", *words, "--broker", f"embedded:{free_port()}").wait_for("(serving fleet)")
        elif words[:2] == ["fleet", "init"]:
            done = run_edgemm(*words, at=place)
            token = _found(r"(emp1_\S+)", done.out)
        else:
            if words[:2] == ["fleet", "rollout"]:
                _pasted(invitation, programs, place)
                words += ["--probation", "0s"]
            answers = ("--token-file", "-") if words[:2] == ["fleet", "login"] else ()
            done = run_edgemm(*words, *answers, at=place, stdin=token)
            assert done.status == 0, (line, done)
            invitation = re.sub(r"\s+$", "", done.out) if words[:3] == ["fleet", "token", "create"] else invitation
    assert {"fleet init", "fleet serve", "fleet login", "fleet publish", "fleet token", "fleet rollout"} <= set(seen)


def _pasted(invitation: str, programs: Programs, place: Place) -> None:
    """Paste the line that `token create` printed on a device, and wait until the fleet lists it."""
    [line] = [line.strip() for line in invitation.splitlines() if line.strip().startswith("edgemm run --fleet")]
    programs.start("device", *shlex.split(line)[1:], "--port", "0").wait_for("(connected)")
    eventually(lambda: len(run_edgemm("fleet", "devices", "--json", at=place).json()) == 1, "the fleet lists it")


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, text
    return match[1]
