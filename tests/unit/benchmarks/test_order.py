"""What takes long begins first, and the table of it is of tests that are there."""

from __future__ import annotations

from tests import order
from tests.programs import ROOT


def test_each_module_that_takes_long_is_there() -> None:
    assert [name for name in order.LONG if not (ROOT / name).is_file()] == []


def test_what_takes_long_comes_first_and_the_rest_stays_as_it_was() -> None:
    longest, less = sorted(order.LONG, key=order.LONG.__getitem__)[:-3:-1]
    tests = [("b.py", "b::1"), ("a.py", "a.py"), (less, "less"), ("c.py", "c::1"), ("a.py", "a.py"), (longest, "long")]
    first = order.longest_first(tests, module=lambda test: test[0], unit=lambda test: test[1])
    assert [module for module, _ in first] == [longest, less, "a.py", "a.py", "b.py", "c.py"]
