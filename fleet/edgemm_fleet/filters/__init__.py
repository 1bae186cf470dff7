"""The language that says which devices are meant: `site=plant-7 version<1.2 seen>1h not label:canary`.

    wanted = parse('site=plant-7 version<1.2', model="digits")
    str_of = written(wanted)                # the canonical text
    explained(wanted)                       # 'label site is plant-7 and version of digits is below 1.2'
    compiled(wanted)(facts, now)            # is this device meant?

Pure: no store, no clock, no network. `docs/filters.md` is the page for people; the store turns the same tree into SQL.
"""

from edgemm_fleet.filters.closures import DeviceFacts, compiled
from edgemm_fleet.filters.expressions import Expression, written
from edgemm_fleet.filters.filter_error import MAX_BYTES, FilterError, RefusedFilterError
from edgemm_fleet.filters.grammar import parse
from edgemm_fleet.filters.wording import explained

__all__ = [
    "MAX_BYTES", "DeviceFacts", "Expression", "FilterError", "RefusedFilterError", "compiled", "explained", "parse",
    "written",
]  # fmt: skip
