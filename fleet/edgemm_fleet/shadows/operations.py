"""An operator's actions on shadows, a few devices in each transaction.

A manager that ends in the middle has done it for some: the same again does the rest. The audit log has a line when it
begins, and one when it is done, or that one alone where few devices match.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from edgemm.errors import BadRequestError, ConflictError, NotFoundError
from edgemm.messages import DesiredShadow, Variants
from edgemm.versions import Version
from edgemm_fleet.director.director import Director
from edgemm_fleet.records.rollout_plan import Selector
from edgemm_fleet.store import Store, Transaction, audit, devices, models, shadows

_LOOKED_AT = 500
_AT_ONCE = 50
"""Devices that one transaction is about: a fraction of a millisecond each."""
_NAMED = 1000


class ShadowsChanged(NamedTuple):
    """How many devices an action was about, and the first of them by id, 1,000 at most."""

    number: int
    devices: tuple[str, ...]


class ShadowOperations:
    """Acts on shadows in the store; `wake` is called after each that may have changed what devices are told."""

    def __init__(self, store: Store, director: Director, *, wake: Callable[[], None]) -> None:
        self._store, self._director, self._wake = store, director, wake

    def put(
        self, model: str, version: str, *, share: float, variants: Variants, selector: Selector,
        actor: str, now: float, allow_empty: bool = False,
    ) -> ShadowsChanged:  # fmt: skip
        """Want a version as a shadow beside a model on the devices that match now; return those.

        Raises:
            NotFoundError: the version is not published, or a device that the selector names is not enrolled.
            BadRequestError: it is below the signed minimum.
            ConflictError: no device matches, and that is not allowed; or the version was withdrawn, maybe meanwhile.
        """

        def wanted(tx: Transaction) -> DesiredShadow:
            found = models.get_offered(tx, model, version)
            _check_minimum(tx, model, version)
            return DesiredShadow(version=version, digest=found.digest, share=share, variants=variants)

        def act(tx: Transaction, ids: Sequence[str]) -> Sequence[str]:
            shadows.put(tx, ids, model, wanted(tx))
            self._director.write(tx, ids, now=now)
            return ids

        def note(tx: Transaction, number: int | None) -> None:
            whom = "all devices that match, one after another" if number is None else f"{number} devices"
            detail = f"{version} on {whom}, share {share:g}"
            audit.add(tx, at=now, actor=actor, action="shadow.set", subject=model, detail=detail)

        with self._store.read() as tx:
            wanted(tx)
            _check_named(tx, selector, allow_empty=allow_empty)
        return self._act(self._parts(selector, model, now=now, allow_empty=allow_empty), act, note)

    def clear(
        self, model: str, *, selector: Selector, actor: str, now: float, allow_empty: bool = False
    ) -> ShadowsChanged:
        """Want no shadow beside a model on the devices that match now; return those that had one.

        Raises:
            NotFoundError: a device that the selector names is not enrolled, or nothing of the model is known.
            ConflictError: no device matches, and that is not allowed.
        """

        def act(tx: Transaction, ids: Sequence[str]) -> Sequence[str]:
            had = shadows.drop(tx, ids, model)
            self._director.write(tx, had, now=now)
            return had

        def note(tx: Transaction, number: int | None) -> None:
            detail = "all devices that match, one after another" if number is None else f"{number} devices"
            audit.add(tx, at=now, actor=actor, action="shadow.clear", subject=model, detail=detail)

        with self._store.read() as tx:
            check_known(tx, model)
            _check_named(tx, selector, allow_empty=allow_empty)
        return self._act(self._parts(selector, model, now=now, allow_empty=allow_empty), act, note)

    def _act(
        self,
        parts: Iterator[tuple[Sequence[str], bool]],
        act: Callable[[Transaction, Sequence[str]], Sequence[str]],
        note: Callable[[Transaction, int | None], None],
    ) -> ShadowsChanged:
        number, named = 0, list[str]()
        for turn, (ids, is_last) in enumerate(parts):
            with self._store.write() as tx:
                changed = act(tx, ids)
                if is_last or not turn:
                    note(tx, number + len(changed) if is_last else None)
            number += len(changed)
            named += changed[: _NAMED - len(named)]
            self._wake()
        return ShadowsChanged(number, tuple(named))

    def _parts(
        self, selector: Selector, model: str, *, now: float, allow_empty: bool
    ) -> Iterator[tuple[Sequence[str], bool]]:
        """Yield the devices that match, some at a time, and whether those are the last."""
        part: list[str] | None = None
        for following in self._matching(selector, model, now=now):
            if part is not None:
                yield part, False
            part = following
        if part is None and not allow_empty:
            raise ConflictError(
                f"{selector.nobody()}, so nothing would be done; if that is meant: --allow-empty (`allow_empty`)"
            )
        yield part or [], True

    def _matching(self, selector: Selector, model: str, *, now: float) -> Iterator[list[str]]:
        after: str | None = None
        while True:
            with self._store.read() as tx:
                ids, after = devices.page_meant(tx, selector, model=model, now=now, after=after, limit=_LOOKED_AT)
            yield from (ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE))
            if after is None:
                return


def check_known(tx: Transaction, model: str) -> None:
    """Refuse a name of which nothing was ever published, nor is wanted as a shadow: it is a slip.

    Raises:
        NotFoundError: it is such a name.
    """
    if models.find_model(tx, model) is None and not shadows.page(tx, model, limit=1).items:
        raise NotFoundError(f"no model {model[:80]!r} here, and no shadow beside one: `edgemm fleet models` lists them")


def _check_named(tx: Transaction, selector: Selector, *, allow_empty: bool) -> None:
    if not allow_empty and (unknown := devices.unknown(tx, selector)):
        raise NotFoundError(f"no device {unknown[0]!r} in this fleet: `edgemm fleet devices` lists them")


def _check_minimum(tx: Transaction, name: str, version: str) -> None:
    model = models.find_model(tx, name)
    minimum = model.minimum_version if model is not None else None
    if minimum is not None and Version(version) < Version(minimum):
        raise BadRequestError(
            f"{name} {version}: below {minimum}, the signed minimum version, so every device would refuse it; "
            f"ask for {minimum} or a later one, or have an administrator lower it: edgemm fleet models withdraw {name} "
            "--minimum-version V"
        )
