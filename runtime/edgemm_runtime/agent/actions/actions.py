"""One-off actions, each done once by its id: those of `ActionKind`; others are unsupported.

Results are remembered on disk. A restart is noted before it happens, and does not happen if it cannot be noted;
otherwise the restarts would never end. The other actions can be repeated without harm, and are noted when they are
done.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Collection, Mapping, Sequence

from edgemm.errors import EdgemmError, EnvironmentFailure
from edgemm.messages import Action, ActionKind, ActionResult
from edgemm_runtime.agent.state.documents import ActionsFile
from edgemm_runtime.agent.state.state_folder import StateFolder

_log = logging.getLogger(__name__)
_NAME = "actions.json"
_REMEMBERED = 64
MAX_DETAIL = 1000
"""Characters of a result; what is longer is cut."""
Handler = Callable[[Action], str]


def due(wanted: Sequence[Action], done: Sequence[ActionResult], begun: Collection[str] = ()) -> list[Action]:
    """Return the actions that were neither done nor begun, each id once, in order. Pure."""
    known = {result.id for result in done} | set(begun)
    found: dict[str, Action] = {}
    for action in wanted:
        if action.id not in known:
            found.setdefault(action.id, action)
    return list(found.values())


def remembered(
    done: Sequence[ActionResult], result: ActionResult, *, wanted: Collection[str]
) -> tuple[ActionResult, ...]:
    """Return the results to keep: those still wanted before all, then the latest; newest last. Pure."""
    results = [*(r for r in done if r.id != result.id), result]
    surplus = len(results) - _REMEMBERED
    if surplus > 0:
        forgotten = {r.id for r in [r for r in results if r.id not in wanted][:surplus]}
        results = [r for r in results if r.id not in forgotten]
    return tuple(results[-_REMEMBERED:])


class Actions:
    """Does actions one after the other in a thread of its own."""

    def __init__(
        self,
        folder: StateFolder,
        handlers: Mapping[str, Handler],
        *,
        restart: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        self._folder, self._handlers, self._restart, self._changed = folder, handlers, restart, changed
        kept = folder.read(_NAME, ActionsFile)
        self._results = kept.results if kept else ()
        self._wanted: tuple[Action, ...] = ()
        self._begun: set[str] = set()
        self._waiting: queue.SimpleQueue[Action | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="edgemm-actions", daemon=True)

    @property
    def results(self) -> tuple[ActionResult, ...]:
        """What came of all that is remembered, oldest first."""
        return self._results

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """End after the action under way; the thread does not keep the process alive."""
        self._waiting.put(None)

    def want(self, actions: tuple[Action, ...]) -> None:
        """Do what was not done yet."""
        self._wanted = actions
        for action in actions:
            self.order(action)

    def order(self, action: Action) -> None:
        """Do one thing that came in a message of its own, unless it was done."""
        for one in due((action,), self._results, self._begun):
            self._begun.add(one.id)
            self._waiting.put(one)

    def _run(self) -> None:
        while (action := self._waiting.get()) is not None:
            if action.kind == ActionKind.RESTART:
                self._restart_once(action)
            else:
                self._note(self._do(action))

    def _restart_once(self, action: Action) -> None:
        try:
            self._keep(_result(action, ok=True, detail="restarting"))
        except EnvironmentFailure as err:
            self._note(_result(action, ok=False, detail=f"not restarted: {err}"))
        else:
            self._restart()

    def _do(self, action: Action) -> ActionResult:
        handler = self._handlers.get(action.kind)
        if handler is None:
            return _result(action, ok=False, detail=f"unsupported: {action.kind!r}")
        try:
            return _result(action, ok=True, detail=handler(action))
        except (EdgemmError, OSError) as err:
            return _result(action, ok=False, detail=str(err))

    def _note(self, result: ActionResult) -> None:
        try:
            self._keep(result)
        except EnvironmentFailure as err:
            _log.warning("result not kept id=%s error=%s", result.id, err)
            self._tell(result)

    def _keep(self, result: ActionResult) -> None:
        self._folder.write(_NAME, ActionsFile(results=self._with(result)))
        self._tell(result)

    def _tell(self, result: ActionResult) -> None:
        self._results = self._with(result)
        _log.info("action id=%s ok=%s detail=%s", result.id, result.ok, result.detail)
        self._changed()

    def _with(self, result: ActionResult) -> tuple[ActionResult, ...]:
        return remembered(self._results, result, wanted={action.id for action in self._wanted})


def _result(action: Action, *, ok: bool, detail: str) -> ActionResult:
    return ActionResult(id=action.id, ok=ok, detail=detail[:MAX_DETAIL])
