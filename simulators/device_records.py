"""Desired models and records of devices, short to write in tables."""

from __future__ import annotations

from typing import Any

from edgemm.canonical import sha256
from edgemm.messages import DesiredModel
from edgemm_runtime.agent.state.documents import Installed, ModelFile
from edgemm_runtime.agent.update import machine
from edgemm_runtime.agent.update.events import (
    Activated,
    Event,
    Fetched,
    Passed,
    Prepared,
    Proceed,
    SelfTested,
    Wanted,
)

VARIANT = "tflite:float32"


def digest(version: str) -> str:
    return sha256(f"tiny {version}".encode())


def wanted(version: str, attempt: int = 1, **fields: Any) -> DesiredModel:
    return DesiredModel(name="tiny", version=version, digest=digest(version), attempt=attempt, **fields)


def installed(version: str) -> Installed:
    return Installed(digest=digest(version), version=version, variant=VARIANT)


def way_to_commit() -> list[Event]:
    """Return the events that take a wanted model to `committed`, in order."""
    return [Prepared(VARIANT), Fetched(), SelfTested(), Proceed(), Activated(), Passed()]


def run(record: ModelFile, *events: Event) -> ModelFile:
    for event in events:
        record = machine.decide(record, event)
    return record


def fresh() -> ModelFile:
    return ModelFile(name="tiny")


def with_committed(version: str) -> ModelFile:
    """Return the record of a device that runs one version, all of it told."""
    record = run(fresh(), Wanted(wanted(version)), *way_to_commit())
    return told(record)


def told(record: ModelFile) -> ModelFile:
    return ModelFile(**{field: getattr(record, field) for field in record.__struct_fields__} | {"pending": ()})
