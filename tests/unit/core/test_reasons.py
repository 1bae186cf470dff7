"""Reason codes stand in one place, each explained."""

import ast
import inspect
import itertools
from pathlib import Path

from edgemm import reasons
from edgemm.reasons import Reason
from edgemm_runtime.agent.acceptance import Acceptance

ROOT = Path(__file__).parents[3]
PRODUCT = [ROOT / part for part in ("core/edgemm", "runtime/edgemm_runtime", "fleet/edgemm_fleet", "demo/edgemm_demo")]
WORDS = {"errors", "latency", "hang", "stopped", "expired", "damaged", "silent", "deadline", "removed", "untrusted"} | {
    "unreachable", "unsupported", "incompatible", "superseded", "unreached", "withdrawn"
}  # fmt: skip
"""Codes that are also words of other things: looked for only where reasons are written and read."""
OTHER_THINGS = {
    ("ingest/batch.py", "untrusted"): "a counter of messages",
    ("api/error_replies.py", "untrusted"): "an error code of the HTTP API",
    ("agent/inbox.py", "stopped"): "a signal of the loop",
    ("agent/agent.py", "stopped"): "how the loop ended",
    ("reporting/shortening.py", "errors"): "a field",
    ("api/prometheus.py", "unreadable"): "a number of rows",
    ("health/health_findings.py", "clock_leapt"): "what is wrong with a manager",
}


def test_every_code_says_what_happened_and_what_to_do() -> None:
    (body,) = [n.body for n in ast.parse(inspect.getsource(reasons)).body if isinstance(n, ast.ClassDef)]
    explained = {
        ast.unparse(node.targets[0]): str(after.value.value)
        for node, after in itertools.pairwise(body)
        if isinstance(node, ast.Assign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    }
    assert list(explained) == [reason.name for reason in Reason]
    assert all(reason.name.lower() == reason.value for reason in Reason)
    assert all(text.endswith((".", "?")) and len(text) > 30 for text in explained.values())


def test_no_code_stands_anywhere_else() -> None:
    found = []
    for path in (path for part in PRODUCT for path in part.rglob("*.py")):
        if path.name == "reasons.py":
            continue
        near = any(name in path.parts for name in ("agent", "rollout", "ingest", "director"))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and node.value in set(Reason):
                place = "/".join(path.parts[-2:]), node.value
                if (near or node.value not in WORDS) and place not in OTHER_THINGS:
                    found.append((path.relative_to(ROOT).as_posix(), node.lineno, node.value))
    assert found == []


def test_every_refusal_of_a_desired_is_a_code() -> None:
    assert all(answer.value in set(Reason) for answer in Acceptance if answer.refused)


def test_a_code_of_a_later_version_is_shown_as_it_is() -> None:
    assert not Reason("outside_window").known
    assert f"{Reason('outside_window')}" == "outside_window"
