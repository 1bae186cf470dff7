"""What the devices go through, one after another, and what is measured of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from benchmarks.fleet_devices.figures import Figures, marks, spread, wait
from benchmarks.fleet_devices.usage import Usage
from benchmarks.fleet_devices.world import MODEL, World
from edgemm.messages import ActionKind, ModelConfig, Probation
from edgemm.states import RolloutState
from edgemm_fleet.api.messages import ActionRequest, RolloutRequest
from edgemm_fleet.records.rollout_plan import Group
from edgemm_fleet.store.schema import devices
from simulators.crowd.process import CrowdProcess
from simulators.crowd.tally import Tally


@dataclass
class Scene:
    """The fleet, and the processes of its devices."""

    world: World
    crowd: list[CrowdProcess]
    total: int

    def usage(self) -> Usage:
        """Look at the CPU and memory of all."""
        return Usage.of(self.world.pids | {f"devices-{n}": one.pid for n, one in enumerate(self.crowd)})

    def all(self, what: str, **more: Any) -> list[Any]:
        """Ask all processes at once."""
        for one in self.crowd:
            one.begin(what, **more)
        return [one.answer() for one in self.crowd]

    def tallies(self) -> list[Tally]:
        """Return how all devices are."""
        return self.all("tally")

    def online(self) -> int:
        """Return how many the manager sees, by its API."""
        return self.world.client.status().online

    def costs(self, before: Usage, seconds: float) -> Figures:
        """Return what CPU a phase took, in seconds and in milliseconds of a device."""
        used = self.usage().since(before)
        parts = {name: used[name] for name in self.world.pids} | {
            "devices": round(sum(cpu for name, cpu in used.items() if name.startswith("devices-")), 3)
        }
        each = {f"{name}_ms_a_device": round(1000 * cpu / self.total, 3) for name, cpu in parts.items()}
        return {"seconds": round(seconds, 2), "cpu_s": parts, **each}

    def memory(self) -> Figures:
        """Return resident MiB."""
        found = self.usage().rss_bytes
        return {name: round(found[name] / 2**20, 1) for name in self.world.pids}


def enrol(scene: Scene) -> Figures:
    """Enrol all."""
    before, begun_s = scene.usage(), time.monotonic()
    found = [one for part in scene.all("enrol") for one in part]
    took_s = time.monotonic() - begun_s
    scene.all("prepare")
    costs = scene.costs(before, took_s)
    tries = sum(tries for _, tries in found)
    return {
        "a_second": round(scene.total / took_s, 1),
        **spread([at for at, _ in found], begun_s),
        "tries": tries,
        **costs,
    }


def connect(scene: Scene, *, rate: float) -> Figures:
    """Connect all, at most so many a second, and wait until the manager sees them."""
    before, begun_s = scene.usage(), time.monotonic()
    scene.all("connect", rate=rate / len(scene.crowd))
    wait(lambda: sum(one.connected for one in scene.tallies()) == scene.total, "all are connected")
    connected_s = time.monotonic() - begun_s
    wait(lambda: scene.online() == scene.total, "the manager sees all")
    took_s = time.monotonic() - begun_s
    at = [at for part in scene.all("connected") for at in part]
    refused = sum(one.refused for one in scene.tallies())
    figures = {"a_second": round(scene.total / connected_s, 1), **spread(at, begun_s)}
    return {**figures, "all_seen_s": round(took_s, 2), "refused": refused, **scene.costs(before, took_s)}


def rest(scene: Scene, *, seconds: float) -> Figures:
    """Do nothing but what devices do anyway."""
    before, begun_s = scene.usage(), time.monotonic()
    time.sleep(seconds)
    took_s = time.monotonic() - begun_s
    used = scene.usage().since(before)
    return {"cpu_a_second": {name: round(used[name] / took_s, 4) for name in scene.world.pids}}


def roll_out(scene: Scene, version: str, *, probation_s: float) -> Figures:
    """Roll a version out in one group, and wait until all have it."""
    client, total = scene.world.client, scene.total
    config = ModelConfig(probation=Probation(min_duration_s=probation_s, min_requests=0))
    request = RolloutRequest(model=MODEL, version=version, groups=(Group(percent=100),), config=config)
    drafted = client.create_rollout(request)
    wait(lambda: client.rollout(drafted.id).rollout.state in {RolloutState.DRAFT, RolloutState.READY}, "it is drafted")
    told_before = sum(one.told for one in scene.tallies())
    scene.all("desired")
    before, begun_s = scene.usage(), time.monotonic()
    client.start_rollout(drafted.id)
    started_s = time.monotonic() - begun_s
    seen: list[tuple[float, dict[str, int]]] = []

    def over() -> bool:
        detail = client.rollout(drafted.id)
        if len(seen) % 10 == 9:
            print(seen[-1], _sum_states(scene.tallies()), file=sys.stderr, flush=True)
        seen.append((round(time.monotonic() - begun_s, 1), detail.groups[0] if detail.groups else {}))
        return detail.rollout.state not in {RolloutState.RUNNING, RolloutState.READY} or (
            seen[-1][1].get("committed", 0) == total
        )

    done = wait(over, f"{version} is rolled out", strict=False)
    took_s = time.monotonic() - begun_s
    came = [at - begun_s for part in scene.all("desired") for times in part.values() for at in times[:1]]
    tallies = scene.tallies()
    return {
        "version": version,
        "all_committed": done,
        "counts": seen[-1][1],
        "states": _sum_states(tallies),
        "start_call_s": round(started_s, 2),
        "told_first_s": round(min(came, default=0.0), 2),
        "told_last_s": round(max(came, default=0.0), 2),
        "events_and_windows": sum(one.told for one in tallies) - told_before,
        "downloads": sum(one.downloads for one in tallies),
        **scene.costs(before, took_s),
    }


def tell_some(scene: Scene, *, count: int, pause_s: float) -> Figures:
    """Ask one device after another for something, and see how soon its `desired` comes."""
    ids = [one for part in scene.all("ids") for one in part]
    step = max(1, len(ids) // count)
    asked: list[tuple[str, float, float]] = []
    scene.all("desired")
    for device in ids[::step][:count]:
        begun_s = time.monotonic()
        scene.world.client.act(device, ActionRequest(kind=ActionKind.DIAGNOSE))
        asked.append((device, begun_s, time.monotonic() - begun_s))
        time.sleep(pause_s)
    time.sleep(3)
    came: dict[str, list[float]] = {}
    for part in scene.all("desired"):
        came |= part
    waits = [
        min((at for at in came.get(device, ()) if at >= begun_s), default=begun_s + 99) - begun_s
        for device, begun_s, _ in asked
    ]
    return {"count": len(asked), "call_ms": marks([one for _, _, one in asked]), "wait_ms": marks(waits)}


def watch(scene: Scene, *, seconds: float) -> Figures:
    """See whether a device that is connected and speaks is ever taken for offline."""
    before, begun_s, worst, looks = scene.usage(), time.monotonic(), 0, 0
    lost_before = sum(one.lost for one in scene.tallies())
    while time.monotonic() - begun_s < seconds:
        worst, looks = max(worst, scene.total - scene.online()), looks + 1
        time.sleep(min(2.0, seconds))
    took_s = time.monotonic() - begun_s
    used = scene.usage().since(before)
    tallies = scene.tallies()
    return {
        "seconds": round(took_s, 1),
        "looks": looks,
        "most_offline_at_a_time": worst,
        "connections_lost": sum(one.lost for one in tallies) - lost_before,
        "unacknowledged": sum(one.unacknowledged for one in tallies),
        "cpu_a_second": {name: round(used[name] / took_s, 4) for name in scene.world.pids},
    }


def return_all(scene: Scene) -> Figures:
    """Kill the broker, start it again, and wait until the manager has heard of all by their new connections."""
    numbers = sum(one.connects for one in scene.tallies())
    before, at = scene.usage(), time.time()
    scene.world.restart_broker()
    restarted_s = time.time() - at
    after = Usage.of(scene.world.pids).cpu_s["broker"]
    store = scene.world.store()

    def back() -> bool:
        with store.read() as tx:
            query = select(func.count()).where(
                devices.c.online, devices.c.last_seen_at >= at, devices.c.connection >= 2
            )
            seen.append(int(tx.execute(query).scalar_one()))
        return seen[-1] == scene.total

    seen: list[int] = []
    done = wait(back, "all are back", strict=False)
    took_s = time.time() - at
    store.close()
    scene.all("measure", on=False)
    wait(
        lambda: sum(one.unacknowledged for one in scene.tallies()) == 0, "all is acknowledged", strict=False, most_s=90
    )
    tallies = scene.tallies()
    used = scene.usage().since(before)
    return {
        "all_back": done,
        "seen": seen[-1],
        "broker_restart_s": round(restarted_s, 2),
        "until_all_online_s": round(took_s, 2),
        "connections": sum(one.connects for one in tallies) - numbers,
        "refused": sum(one.refused for one in tallies),
        "unacknowledged_in_the_end": sum(one.unacknowledged for one in tallies),
        "cpu_s": {"manager": used["manager"], "broker": round(Usage.of(scene.world.pids).cpu_s["broker"] - after, 3)},
    }


def _sum_states(tallies: Sequence[Tally]) -> dict[str, int]:
    names = sorted({name for one in tallies for name in one.states})
    return {name: sum(one.states.get(name, 0) for one in tallies) for name in names}
