"""An operator's actions on shadows; each is one transaction and one line of the audit log."""

from __future__ import annotations

from collections.abc import Callable

from edgemm.errors import BadRequestError, ConflictError, NotFoundError
from edgemm.messages import DesiredShadow, Variants
from edgemm.versions import Version
from edgemm_fleet.director.director import Director
from edgemm_fleet.records.rollout_plan import Selector
from edgemm_fleet.store import Store, Transaction, audit, devices, models, shadows


class ShadowOperations:
    """Acts on shadows in the store; `wake` is called after each that may have changed what devices are told."""

    def __init__(self, store: Store, director: Director, *, wake: Callable[[], None]) -> None:
        self._store, self._director, self._wake = store, director, wake

    def put(
        self, model: str, version: str, *, share: float, variants: Variants, selector: Selector,
        actor: str, now: float, allow_empty: bool = False,
    ) -> tuple[str, ...]:  # fmt: skip
        """Want a version as a shadow beside a model on the devices that match now; return those.

        Raises:
            NotFoundError: the version is not published, or a device that the selector names is not enrolled.
            BadRequestError: it is below the signed minimum.
            ConflictError: no device matches, and that is not allowed; or the version was withdrawn.
        """
        with self._store.write() as tx:
            found = models.get_offered(tx, model, version)
            _check_minimum(tx, model, version)
            wanted = DesiredShadow(version=version, digest=found.digest, share=share, variants=variants)
            ids = _matching(tx, selector, model=model, now=now, allow_empty=allow_empty)
            shadows.put(tx, ids, model, wanted)
            self._director.write(tx, ids, now=now)
            detail = f"{version} on {len(ids)} devices, share {share:g}"
            audit.add(tx, at=now, actor=actor, action="shadow.set", subject=model, detail=detail)
        self._wake()
        return ids

    def clear(
        self, model: str, *, selector: Selector, actor: str, now: float, allow_empty: bool = False
    ) -> tuple[str, ...]:
        """Want no shadow beside a model on the devices that match now; return those that had one.

        Raises:
            NotFoundError: a device that the selector names is not enrolled, or nothing of the model is known.
            ConflictError: no device matches, and that is not allowed.
        """
        with self._store.write() as tx:
            check_known(tx, model)
            ids = _matching(tx, selector, model=model, now=now, allow_empty=allow_empty)
            had = shadows.drop(tx, ids, model)
            self._director.write(tx, had, now=now)
            audit.add(tx, at=now, actor=actor, action="shadow.clear", subject=model, detail=f"{len(had)} devices")
        self._wake()
        return had


def check_known(tx: Transaction, model: str) -> None:
    """Refuse a name of which nothing was ever published, nor is wanted as a shadow: it is a slip.

    Raises:
        NotFoundError: it is such a name.
    """
    if models.find_model(tx, model) is None and not shadows.page(tx, model, limit=1).items:
        raise NotFoundError(f"no model {model[:80]!r} here, and no shadow beside one: `edgemm fleet models` lists them")


def _matching(tx: Transaction, selector: Selector, *, model: str, now: float, allow_empty: bool) -> tuple[str, ...]:
    if not allow_empty and (unknown := devices.unknown(tx, selector)):
        raise NotFoundError(f"no device {unknown[0]!r} in this fleet: `edgemm fleet devices` lists them")
    ids = tuple(device.id for device in devices.matching(tx, selector, model=model, now=now))
    if not ids and not allow_empty:
        raise ConflictError(
            f"{selector.nobody()}, so nothing would be done; if that is meant: --allow-empty (`allow_empty`)"
        )
    return ids


def _check_minimum(tx: Transaction, name: str, version: str) -> None:
    model = models.find_model(tx, name)
    minimum = model.minimum_version if model is not None else None
    if minimum is not None and Version(version) < Version(minimum):
        raise BadRequestError(
            f"{name} {version}: below {minimum}, the signed minimum version, so every device would refuse it; "
            f"ask for {minimum} or a later one, or have an administrator lower it: edgemm fleet models withdraw {name} "
            "--minimum-version V"
        )
