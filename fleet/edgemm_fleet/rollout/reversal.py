"""The reversal of an assignment: the version that a device is told when a rollout's version is taken back from it.

That is the version that it really runs, not the one that it was last told to run.
"""

from __future__ import annotations

from edgemm.messages import DesiredModel, ModelConfig, Reported


def active_model(name: str, reported: Reported | None, assigned: DesiredModel | None) -> DesiredModel | None:
    """Return what answers requests for a model on a device, as something to want of it.

    Without any report that is what it was told; where nothing is active it is None: the model is not wanted.
    """
    if reported is None:
        return assigned
    entry = next((model for model in reported.models if model.name == name), None)
    if entry is None or entry.active_digest is None or entry.active_version is None:
        return None
    if assigned is not None and assigned.digest == entry.active_digest:
        return assigned
    config = assigned.config if assigned is not None else ModelConfig()
    return DesiredModel(name=name, version=entry.active_version, digest=entry.active_digest, config=config)
