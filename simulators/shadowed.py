"""A served model in this process, and bundles that may run beside it in processes of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgemm.bundle import open_bundle
from edgemm_runtime.engines.bundle_source import BundleFile
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.shadow.running import RunningShadows
from edgemm_runtime.shadow.shadow import ShadowCandidate, ShadowState
from edgemm_runtime.shadow.shadow_limits import ShadowLimits
from simulators.models import Dense, make_bundle
from simulators.serving import activate
from simulators.waiting import eventually

FAST = ShadowLimits(busy_share=1.0, gather_s=0.001, restart_first_s=0.01, max_crashes=2)
ROWS = np.random.default_rng(5).uniform(-1, 1, (8, 4)).astype(np.float32)


class ShadowedModel:
    """A served model, and bundles that may run beside it."""

    def __init__(self, folder: Path, limits: ShadowLimits = FAST, *, batch: int = -1) -> None:
        self.folder, self.rows = folder, ROWS if batch < 0 else ROWS[:batch]
        self.registry = ModelRegistry(RunningShadows(limits))
        self.path(1, batch=batch)
        activate(self.registry, folder / "1")

    def path(self, number: int, **options: Any) -> Path:
        path = self.folder / str(number)
        make_bundle(path, version=f"{number}.0.0", seed=number, **options)
        return path

    def shadow(self, number: int, *, share: float = 1.0, **options: Any) -> ShadowCandidate:
        return self.shadow_of(self.path(number, **options), share=share)

    def shadow_of(self, path: Path, *, share: float = 1.0) -> ShadowCandidate:
        with open_bundle(path) as bundle:
            candidate = ShadowCandidate(
                manifest=bundle.manifest,
                digest=bundle.digest,
                location=BundleFile(path),
                variant_id="tflite:float32",
                share=share,
                seed=0,
            )
        self.registry.add_shadow(candidate)
        return candidate

    def ask(self, times: int = 1) -> None:
        for _ in range(times):
            found = self.registry.get("tiny").predict({"x": self.rows})["scores"]
            assert np.allclose(found, Dense.random(1).predict(self.rows), atol=1e-5)

    @property
    def state(self) -> ShadowState:
        [status] = self.registry.shadows.statuses()
        return status.state

    def wait_until_it_runs(self) -> None:
        eventually(lambda: self.state is ShadowState.RUNNING, "the shadow runs")
