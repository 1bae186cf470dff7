"""Many devices at one manager, simulated by processes that speak the device's protocol: see benchmarks/README.md."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from simulators import needs

with needs.imports(__name__, "fleet,onnx,runtime"):
    from benchmarks.fleet_devices import phases
    from benchmarks.fleet_devices.apart import enrol_apart
    from benchmarks.fleet_devices.phases import Scene
    from benchmarks.fleet_devices.world import MODEL, World, WorldSettings
    from edgemm_fleet.api.messages import TokenRequest
    from simulators.crowd.process import Crowd, CrowdProcess

_SETTLE_S = 8.0
PHASES = ("rollout", "tell", "watch", "return")


def main() -> int:
    """Measure as the command line says."""
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # and with it all processes
    settings = WorldSettings(
        mosquitto=options.broker == "mosquitto", tls=options.tls, database=options.db, profile=options.profile
    )
    figures: dict[str, Any] = {"devices": options.devices, "processes": options.processes, "broker": options.broker}
    figures |= {"tls": options.tls, "db": options.db or "sqlite", "download": options.download, "met": {}}
    with tempfile.TemporaryDirectory(prefix="fleet-devices-") as folder, World(Path(folder), settings) as world:
        try:
            _measure(world, options, figures)
        except (TimeoutError, RuntimeError, OSError) as err:
            figures["failed"] = str(err)
        figures["log"] = _lines(world.log)
        figures["broker_log"] = world.broker_log[-5:]
    print(json.dumps(figures, indent=None if options.json else 2))
    return 1 if "failed" in figures or not all(figures["met"].values()) else 0


def _measure(world: World, options: argparse.Namespace, figures: dict[str, Any]) -> None:
    versions = [f"{n + 1}.0.0" for n in range(options.rollouts)]
    for version in versions:
        world.publish(version)
    token = world.client.create_token(TokenRequest(uses=options.devices)).token
    crowd = [CrowdProcess(one) for one in _crowds(world, options, token, versions[0])]
    scene, met = Scene(world, crowd, options.devices), figures["met"]
    try:
        memory = figures["memory_mib"] = {"start": scene.memory()}
        note = _Notes(figures, memory, scene, options)
        note("enrolment", lambda: enrol_apart(scene) if options.enrolled_apart else phases.enrol(scene))
        note("connecting", lambda: phases.connect(scene, rate=options.rate))
        scene.all("measure", on=True)
        time.sleep(_SETTLE_S)
        figures["rest"] = phases.rest(scene, seconds=options.rest)
        if "rollout" in options.phases:
            for version in versions:
                found = note("rollout", partial(phases.roll_out, scene, version, probation_s=options.probation))
                met["rollout <= 60 s"] = found["all_committed"] and found["seconds"] <= 60
                cost = found["manager_ms_a_device"] + found.get("broker_ms_a_device", 0.0)
                found["together_ms_a_device"], met["<= 6 ms a device"] = round(cost, 3), cost <= 6
        if "tell" in options.phases:
            found = note("tell", lambda: phases.tell_some(scene, count=200, pause_s=0.05))
            met["desired p99 < 1 s"] = found["wait_ms"]["p99"] < 1000
        if "watch" in options.phases:
            found = note("watch", lambda: phases.watch(scene, seconds=60 * options.minutes))
            met["no false offline"] = not found["most_offline_at_a_time"]
        if "return" in options.phases and world.mosquitto is not None:
            found = note("return", lambda: phases.return_all(scene))
            met["none lost"] = found["all_back"] and not found["unacknowledged_in_the_end"]
        before, after = memory["start"]["manager"], memory[list(memory)[-1]]["manager"]
        figures["manager_kib_a_device"] = round(1024 * (after - before) / options.devices, 2)
    finally:
        for one in crowd:
            one.end()


class _Notes:
    """Runs one phase after another, says what came of it, and has the manager's CPU noted for each."""

    def __init__(
        self, figures: dict[str, Any], memory: dict[str, Any], scene: Scene, options: argparse.Namespace
    ) -> None:
        self._figures, self._memory, self._scene, self._options = figures, memory, scene, options

    def __call__(self, name: str, phase: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        profile, pid = self._options.profile, self._scene.world.pids["manager"]
        if profile is not None:
            os.kill(pid, signal.SIGUSR1)
        found = self._figures[name] = phase()
        self._memory[name] = self._scene.memory()
        print(f"{name}: {json.dumps(found)}", file=sys.stderr, flush=True)
        if profile is not None:
            os.kill(pid, signal.SIGUSR2)
            time.sleep(1)
            profile.rename(profile.with_suffix(f".{name}"))
        return found


def _crowds(world: World, options: argparse.Namespace, token: str, version: str) -> list[Crowd]:
    count, parts = options.devices, options.processes
    paths = {"shared": [], "device": world.update_paths(version)}
    paths["blob"] = paths["device"][-1:]
    return [
        Crowd(
            url=world.url,
            fingerprint=world.fingerprint,
            token=token,
            names=[f"cam-{n}" for n in range(part, count, parts)],
            director=world.director(),
            model=MODEL,
            probation_s=options.probation,
            telemetry_s=options.telemetry,
            download=paths[options.download],
            enrolling=max(1, options.enrolling // parts),
        )
        for part in range(parts)
    ]


def _lines(log: str) -> dict[str, int]:
    """Return how often the manager logged what, by the first words of it."""
    found: dict[str, int] = {}
    for line in log.splitlines():
        words = line.split()
        if len(words) > 4 and words[0][:2] == "20":
            name = " ".join(words[2:5])[:60].split(" device=")[0]
            found[name] = found.get(name, 0) + 1
    return dict(sorted(found.items(), key=lambda one: -one[1])[:12])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2, help="that simulate them")
    parser.add_argument("--db", metavar="URL", help="postgresql://…, or `private` for one of its own; else SQLite")
    parser.add_argument("--broker", choices=("embedded", "mosquitto"), default="mosquitto")
    parser.add_argument("--tls", action="store_true", help="to the broker; the API always has it")
    parser.add_argument("--enrolling", type=int, default=120, help="devices that enrol at a time")
    parser.add_argument("--enrolled-apart", action="store_true", help="write devices into the database instead")
    parser.add_argument("--rate", type=float, default=500.0, help="at which devices begin to connect, a second")
    parser.add_argument("--probation", type=float, default=5.0, help="seconds")
    parser.add_argument("--telemetry", type=float, default=60.0, help="seconds between two windows of a device")
    parser.add_argument(
        "--download",
        choices=("shared", "blob", "device"),
        default="shared",
        help="what an update fetches over HTTPS: nothing, as if it were there; a blob; all that a device asks for",
    )
    parser.add_argument("--rollouts", type=int, default=1)
    parser.add_argument("--rest", type=float, default=10.0, help="seconds in which the cost of doing nothing is seen")
    parser.add_argument("--minutes", type=float, default=1.0, help="of watching for devices taken for offline")
    parser.add_argument("--phases", type=lambda text: text.split(","), default=list(PHASES), help=",".join(PHASES))
    parser.add_argument("--profile", type=Path, metavar="FILE", help="have the manager note what its CPU is for")
    parser.add_argument("--json", action="store_true", help="one line on stdout")
    return parser


if __name__ == "__main__":
    sys.exit(main())
