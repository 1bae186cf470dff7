"""The metrics of a fleet's database without a server, as Prometheus would get them."""

from __future__ import annotations

from pathlib import Path

from edgemm_fleet.api import prometheus
from edgemm_fleet.health.hearing import Hearing
from edgemm_fleet.health.vitals import Vitals
from edgemm_fleet.store import Store


def exposed(store: Store, *, fleet: str, hearing: Hearing | None = None) -> str:
    """Return the text of `/metrics`."""
    vitals = Vitals(store, hearing or Hearing(), Path())
    facts = vitals.facts(now=0.0)
    return prometheus.expose(prometheus.Exposed(fleet, facts, vitals.hearing, vitals.writes())).decode()
