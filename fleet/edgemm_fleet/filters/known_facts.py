"""The facts that filters look at, made of what is known of a device: its labels, its machine, its newest report."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from edgemm.messages import Reported
from edgemm_fleet.filters.expressions import FactSubject

ENROLLED = frozenset({FactSubject.LABEL, FactSubject.ARCH, FactSubject.OS})
"""Subjects of which enrolment and labelling tell."""
REPORTED = frozenset({FactSubject.VERSION, FactSubject.STATE, FactSubject.ENGINE, FactSubject.RUNTIME})
"""Subjects of which a report tells."""
_MOST_ENGINES, _LONGEST_ENGINE = 32, 64
_ARCHITECTURE = re.compile(
    r"(?<![^\W_])(aarch64|arm64|armv\d\w*|x86_64|amd64|i[3-6]86|riscv64|ppc64le|s390x)(?![^\W_])", re.IGNORECASE
)
_SAME_MACHINE = {"arm64": "aarch64", "amd64": "x86_64"}


class Fact(NamedTuple):
    """A subject, a name and a value."""

    subject: FactSubject
    name: str
    value: str


def of_labels(labels: Mapping[str, str]) -> set[Fact]:
    """Return the facts that labels are."""
    return {Fact(FactSubject.LABEL, name, value) for name, value in labels.items()}


def of_machine(platform: str, runtime: str) -> set[Fact]:
    """Return the facts of what a device said of itself as it enrolled.

    Args:
        platform: as Python has it, such as `Linux-6.1.0-rpi7-rpi-v8-aarch64-with-glibc2.36`.
        runtime: the version of its edgemm.
    """
    found = {Fact(FactSubject.RUNTIME, "", runtime)}
    if system := platform.partition("-")[0].strip().lower():
        found.add(Fact(FactSubject.OS, "", system))
    if machine := _ARCHITECTURE.search(platform):
        name = machine[1].lower()
        found.add(Fact(FactSubject.ARCH, "", _SAME_MACHINE.get(name, name)))
    return found


def of_report(report: Reported) -> set[Fact]:
    """Return the facts of a report; of more engines than anything has the first, and none of a name that none has."""
    found = {Fact(FactSubject.RUNTIME, "", report.runtime)}
    engines = sorted((name, version) for name, version in report.engines.items() if len(name) <= _LONGEST_ENGINE)
    found |= {Fact(FactSubject.ENGINE, name, version) for name, version in engines[:_MOST_ENGINES]}
    for model in report.models:
        found.add(Fact(FactSubject.STATE, model.name, model.state.value))
        if model.active_version is not None:
            found.add(Fact(FactSubject.VERSION, model.name, model.active_version))
    return found
