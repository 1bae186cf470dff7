"""Every line that the fleet manager logs is an event with a name, and its values are fields with one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import edgemm
import edgemm_fleet
from edgemm.outlet.log_events import event_name

ROOTS = (Path(edgemm_fleet.__file__).parent, Path(edgemm.__file__).parent / "transport")
_METHODS = {"debug", "info", "warning", "error", "exception"}
_SECRET = re.compile(r"password|secret|bearer|private|login=|token=", re.IGNORECASE)


def templates() -> Iterator[tuple[str, str]]:
    """Yield (place, template) of each call of a logger."""
    for root in ROOTS:
        for path in sorted(root.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    place = f"{path.name}:{node.lineno}"
                    of_log = re.search(r"log|quiet|unproven", ast.unparse(node.func.value), re.IGNORECASE)
                    if of_log and node.func.attr in _METHODS | {"log"}:
                        yield from ((place, text) for text in _texts(node))


def _texts(call: ast.Call) -> Iterator[str]:
    found = [arg.value for arg in call.args[:2] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    yield from found[-1:]


def test_each_has_a_name() -> None:
    found = dict(templates())
    assert len(found) > 50
    for place, template in found.items():
        name = event_name(template)
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name), (place, template)
        assert name != "message", (place, template)


def test_none_has_a_field_for_a_secret() -> None:
    for place, template in templates():
        assert not _SECRET.search(template), (place, template)
