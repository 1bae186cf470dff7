"""The handlers of the actions `selftest`, `prune` and `diagnose`; each answers in words for an operator."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Mapping

import msgspec

from edgemm import __version__
from edgemm.errors import NotFoundError
from edgemm.messages import Action, ActionKind
from edgemm_runtime.agent.actions.actions import MAX_DETAIL, Handler
from edgemm_runtime.agent.reporting import gauges
from edgemm_runtime.agent.state.documents import Installed, ModelFile
from edgemm_runtime.agent.state.shelf import Shelf
from edgemm_runtime.agent.state.state_folder import StateFolder
from edgemm_runtime.agent.update import machine


class Diagnosis:
    """Looks at one device."""

    def __init__(
        self,
        folder: StateFolder,
        shelf: Shelf,
        records: Callable[[], list[ModelFile]],
        selftest: Callable[[Installed], None],
        prune: Callable[[], int],
    ) -> None:
        self._folder, self._shelf, self._records = folder, shelf, records
        self._selftest, self._prune = selftest, prune

    def handlers(self) -> Mapping[str, Handler]:
        """Return what does which kind of action."""
        return {
            ActionKind.SELFTEST: self.selftest,
            ActionKind.PRUNE: self.prune,
            ActionKind.DIAGNOSE: self.diagnose,
        }

    def selftest(self, action: Action) -> str:
        """Run the golden samples of what is active in a child process: of one model, or of all.

        Raises:
            NotFoundError: the model is not active here.
            EngineError: a golden sample came out wrong, or the engine is missing.
        """
        active = {r.name: r.active for r in self._records() if r.active is not None}
        if action.model is not None:
            active = {name: one for name, one in active.items() if name == action.model}
        if not active:
            raise NotFoundError(
                f"selftest: {action.model} is not active here" if action.model else "selftest: no model is active here"
            )
        for installed in active.values():
            self._selftest(installed)
        return "passed: " + ", ".join(f"{name} {one.version} {one.variant}" for name, one in sorted(active.items()))

    def prune(self, action: Action) -> str:  # noqa: ARG002 - every handler takes the action
        """Remove what neither an active, a previous nor a coming version needs."""
        return f"{self._prune():,} bytes freed"

    def diagnose(self, action: Action) -> str:  # noqa: ARG002 - every handler takes the action
        """Tell how the device is, in JSON that fits into a result: of many models, how many are in which state."""
        facts: dict[str, object] = {
            "runtime": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "system": gauges.gauges(self._folder.folder),
            "blobs": len(list(self._shelf.blobs.digests())),
            "models": {record.name: machine.state(record) for record in self._records()},
        }
        if len(told := msgspec.json.encode(facts).decode()) > MAX_DETAIL:
            facts["models"] = Counter(machine.state(record).value for record in self._records())
            told = msgspec.json.encode(facts).decode()
        return told
