"""The serving of bundles by `edgemm run`, from opening them to SIGTERM."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from edgemm.bundle import Bundle, open_bundle
from edgemm.errors import EnvironmentFailure, InputError
from edgemm.outlet import call_out
from edgemm.sigterm import ended_by_sigterm
from edgemm_runtime.commands.announcing import announce
from edgemm_runtime.commands.being_device import default_state_dir
from edgemm_runtime.commands.configuration import DeviceConfiguration
from edgemm_runtime.commands.mqtt_options import enrolled_at
from edgemm_runtime.commands.shadowing import Shadows, candidates, end
from edgemm_runtime.engines import available
from edgemm_runtime.engines.choice import choose, parse_policy
from edgemm_runtime.identity import ServedKey
from edgemm_runtime.models.feedback import Feedback
from edgemm_runtime.models.loader import Loader
from edgemm_runtime.models.registry import ModelRegistry
from edgemm_runtime.mqtt.over_mqtt import over_mqtt
from edgemm_runtime.mqtt.owner_broker import OwnerBroker
from edgemm_runtime.service.keeper import keeping
from edgemm_runtime.service.notify import Notifier
from edgemm_runtime.serving.access import Access
from edgemm_runtime.serving.management import ManagementAddress, ManagementServer
from edgemm_runtime.serving.server import ModelServer
from edgemm_runtime.shadow.running import RunningShadows

_log = logging.getLogger(__name__)
_FAILING_DISK = frozenset({errno.EROFS, errno.EIO, errno.ENOSPC, errno.EDQUOT})


def serve_bundles(
    paths: tuple[Path, ...],
    *,
    hosts: Sequence[str],
    port: int,
    variant: str,
    shadows: Shadows,
    quiet: bool,
    access: Access,
    manage: ManagementAddress | None,
    limits: DeviceConfiguration,
    state_dir: Path | None = None,
    mqtt: OwnerBroker | None = None,
) -> None:
    """Serve until SIGTERM; predictions that await a label outlive it in a `state_dir`.

    Raises:
        BundleError, EngineError: a bundle cannot be trusted, or none of its variants runs here.
        InputError: two bundles of one name.
        EnvironmentFailure: the address is taken, or the state folder cannot be used.
    """
    policy = parse_policy(variant)
    with ExitStack() as stack:
        wait_for_end = stack.enter_context(ended_by_sigterm())
        feedback = _feedback(state_dir)
        stack.callback(feedback.close)
        registry = ModelRegistry(
            RunningShadows(limits.shadow), feedback, sequences=limits.sequences, monitor=limits.monitor
        )
        stack.callback(registry.watching.close)
        opened = _open_all(paths, stack)
        lie = {bundle.manifest.name: path for bundle, path in zip(opened, paths, strict=True)}
        chosen = [choose(b.manifest, policy=policy, engines=available()).require() for b in opened]
        beside = candidates(shadows, opened)
        for bundle in opened:
            registry.expect(bundle.manifest.name)
        server = stack.enter_context(ModelServer(registry, host=hosts, port=port, limits=limits.serving, access=access))
        for bundle, wanted in zip(opened, chosen, strict=True):
            registry.activate(bundle.manifest.name, bundle, wanted)
            if not quiet:
                announce(server, bundle, variant_id=wanted.id)
        if manage is not None:
            loader = Loader(registry, lie, policy=policy)
            managed = stack.enter_context(ManagementServer(registry, loader, manage, access=access))
            if not quiet:
                call_out(f"models are loaded and unloaded at {managed.address}")
        stack.callback(end, registry)
        for candidate in beside:
            registry.add_shadow(candidate)
            if not quiet:
                call_out(f"{candidate} is loaded as a shadow beside it: curl -s {server.address}/shadow")
        fleets = enrolled_at((state_dir, default_state_dir())) if mqtt is not None else None
        stack.enter_context(over_mqtt(mqtt, server, fleets=fleets))
        with keeping(
            Notifier.from_environment(os.environ),
            registry,
            OpenBundles(opened, lie, stack).bundle_of,
            server_turns=lambda: server.healthy,
        ):
            wait_for_end()


def _feedback(state_dir: Path | None) -> Feedback:
    """Return what late labels are compared with; a disk that fails is no reason not to serve."""
    if state_dir is None:
        return Feedback()
    try:
        return Feedback.kept_in(state_dir)
    except EnvironmentFailure as err:
        if not (isinstance(err.__cause__, OSError) and err.__cause__.errno in _FAILING_DISK):
            raise
        _log.error("late labels: a restart forgets what was predicted error=%s", err)
        return Feedback()


class OpenBundles:
    """The open bundles of what is served; one that was loaded later is opened when it is first asked for."""

    def __init__(self, opened: Sequence[Bundle], paths: Mapping[str, Path], stack: ExitStack) -> None:
        self._by_digest, self._paths, self._stack = {b.digest: b for b in opened}, paths, stack

    def bundle_of(self, key: ServedKey) -> Bundle:
        """Return the bundle that a model was loaded from.

        Raises:
            InputError: there is another one in its place by now.
        """
        found = self._by_digest.get(key.digest)
        if found is None:
            path = self._paths[key.name]
            with ExitStack() as attempt:
                found = attempt.enter_context(open_bundle(path))
                if found.digest != key.digest:
                    raise InputError(
                        f"{path} is not what {key.name} {key.version} was loaded from any more: load it again"
                    )
                self._by_digest[key.digest] = found
                self._stack.push(attempt.pop_all())
        return found


def _open_all(paths: tuple[Path, ...], stack: ExitStack) -> list[Bundle]:
    opened: dict[str, Bundle] = {}
    for path in paths:
        bundle = stack.enter_context(open_bundle(path))
        if bundle.manifest.name in opened:
            raise InputError(f"{path}: a model called {bundle.manifest.name} is given twice: serve one version of it")
        opened[bundle.manifest.name] = bundle
    return list(opened.values())
