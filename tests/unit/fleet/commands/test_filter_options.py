"""The option `--where`: every spelling from before filters, filters, and their completion."""

from __future__ import annotations

import click
import pytest
from msgspec import UNSET

from edgemm.cli import run
from edgemm_fleet.commands.filter_options import selected
from edgemm_fleet.filters.completion import Known, completed, label_asked
from edgemm_fleet.records.rollout_plan import Selector

KNOWN = Known(labels=("site", "hall no", "version"), values=("plant-7", "north wing"))


@pytest.mark.parametrize(
    ("where", "labels"),
    [
        (("site=north",), {"site": ("north",)}),
        (("site=north", "site=south", "kind=camera"), {"site": ("north", "south"), "kind": ("camera",)}),
        (("site=north wing",), {"site": ("north wing",)}),
        (("floor no=3",), {"floor no": ("3",)}),
        (("site=",), {"site": ("",)}),
        (("url=a=b",), {"url": ("a=b",)}),
        (("note=a:b<c",), {"note": ("a:b<c",)}),
        (
            ("state=berlin", "model=x", "arch=arm", "online=yes"),
            {"state": ("berlin",), "model": ("x",), "arch": ("arm",), "online": ("yes",)},
        ),
        (("or=1",), {"or": ("1",)}),
        (('"version"=2',), {"version": ("2",)}),
        (('site="north wing"',), {"site": ("north wing",)}),
    ],
)
def test_one_label_is_sent_as_it_was_before_filters(where: tuple[str, ...], labels: dict[str, tuple[str, ...]]) -> None:
    assert selected(where) == Selector(labels=labels, where=UNSET)


@pytest.mark.parametrize(
    ("where", "selector"),
    [
        ((), Selector()),
        (("site=a ring=b",), Selector(where="site=a ring=b")),
        (("site!=a",), Selector(where="site!=a")),
        (("site=a", "version<2"), Selector(labels={"site": ("a",)}, where="version<2")),
        (("a=1 or b=2", "not online"), Selector(where="(a=1 or b=2) not online")),
    ],
)
def test_filters_that_are_given_together_hold_together(where: tuple[str, ...], selector: Selector) -> None:
    assert selected(where, model="digits") == selector


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("north", "filter, column 1: 'north' is no term"),
        ("site=plant-7 onlin", "filter, column 14: 'onlin' is no term"),
        ("site=a vresion<1", "did you mean version"),
        ("version=x", "filter, column 9: expected a version"),
        ("version<1", "of which model? Put model:NAME beside it"),
        ("site=a)", "closed that was never opened"),
        ("a=" + "x" * 10_000, "filter: 10,002 bytes, the limit is 2,000"),
    ],
)
def test_what_is_no_filter_and_was_no_label_is_refused(text: str, said: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        selected([text])
    assert said in str(caught.value)


def test_an_error_on_the_terminal_has_a_caret_below_its_column(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fleet", "devices", "list", "--where", "site=plant-7 stat:failed"]) == 2
    assert capsys.readouterr().err.splitlines()[-3:] == [
        "Error: filter, column 14: no word 'stat' takes a colon: did you mean state:failed, or a label: stat=failed",
        "  site=plant-7 stat:failed",
        "               ^",
    ]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("site=", "site"),
        ("a=1 (site^=p", "site"),
        ('"hall no"=n', "hall no"),
        ("state:", None),
        ("si", None),
        ("", None),
    ],
)
def test_whose_values_are_asked_for(text: str, label: str | None) -> None:
    assert label_asked(text) == label


@pytest.mark.parametrize(
    ("text", "some"),
    [
        ("", {"site=", '"hall no"=', '"version"!=', "online", "state:", "version<", "seen>", "engine>="}),
        ("s", {"site=", "site!=", "site^=", "state:", "seen<", "seen>="}),
        ("site=", {"site=plant-7", 'site="north wing"'}),
        ("online (site=n", {'online (site="north wing"'}),
        ("state:f", {"state:failed"}),
        ("not label:s", {"not label:site"}),
        ("id=1 ve", {"id=1 version<", "id=1 version!="}),
    ],
)
def test_what_a_filter_may_become(text: str, some: set[str]) -> None:
    found = completed(text, KNOWN)
    assert some <= set(found)
    assert all(one.startswith(text) or '"' in one for one in found)
