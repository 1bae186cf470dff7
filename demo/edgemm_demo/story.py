"""The steps of the demo: train, convert, publish, enrol, roll out, improve, and have a broken version refused.

Every fact in the table at the end was asserted from what the devices and the fleet manager report.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgemm.bundle import open_bundle
from edgemm.states import RolloutState, UpdateState
from edgemm_demo.demo_fleet import MODEL, DemoDevice, DemoFleet
from edgemm_demo.digits import Digits, load_digits
from edgemm_demo.narration import Narrator
from edgemm_demo.processes import Processes
from edgemm_demo.sabotage import swap_weights
from edgemm_fleet.records.progress import Rollout

GOOD_ENOUGH = 0.85
_VARIANTS = ("tflite:int8", "tflite:float32", "onnx:float32")


@dataclass(frozen=True)
class Bundles:
    """The three versions, as files; the third is broken."""

    first: Path
    better: Path
    broken: Path


class Story:
    """The steps of the demo, in order."""

    STEPS = 12

    def __init__(self, folder: Path, *, processes: Processes, narrator: Narrator) -> None:
        self._folder = folder
        self._processes = processes
        self._narrator = narrator
        self._digits: Digits = load_digits()
        self.fleet = DemoFleet(folder, processes=processes, narrator=narrator)

    def tell(self) -> str:
        """Do everything; return the address of the fleet's page.

        Raises:
            DemoError: a fact does not hold.
        """
        bundles = self._make_bundles()
        token = self._start_fleet()
        before = self._first_version(bundles.first)
        self._better_version(bundles.better, before=before)
        self._broken_version(bundles.broken)
        return f"{self.fleet.url}/#token={token}"

    def _make_bundles(self) -> Bundles:
        with self._narrator.step("Train a small CNN on scikit-learn's 1,797 handwritten digits, twice"):
            self._processes.run([sys.executable, "-m", "edgemm_demo.digits", str(self._folder)])
        with self._narrator.step(
            "Convert version 1 to TFLite float32 and int8 and to ONNX; compare each with its source"
        ):
            first = self._verified(self._convert("first", "1.0.0"))
        with self._narrator.step("Convert version 2, trained on all of the data"):
            better = self._verified(self._convert("better", "2.0.0"))
        with self._narrator.step("Make version 3: the golden samples of version 2, the weights of a scrambled copy"):
            scrambled, broken = self._convert("scrambled", "3.0.0", name="scrambled"), self._folder / "broken.edgemm"
            swap_weights(better, scrambled, output=broken, version="3.0.0")
        return Bundles(first, better, broken)

    def _convert(self, model: str, version: str, *, name: str = MODEL) -> Path:
        source, output = self._folder / f"{model}.keras", self._folder / f"{name}-{version}.edgemm"
        given = ("--calibration", self._folder / "calibration.npz", "--labels", self._folder / "labels.txt")
        self.fleet.run("convert", source, "--name", name, "--version", version, *given, "-o", output)
        return output

    def _verified(self, bundle: Path) -> Path:
        """Check what the bundle says of its own conversion."""
        with open_bundle(bundle) as opened:
            manifest = opened.manifest
        worst = max(o.relative for run in manifest.parity if run.variant != "tflite:int8" for o in run.outputs)
        sizes = {v.id: manifest.blobs[v.blob].size for v in manifest.variants}
        self._narrator.check(
            f"{manifest.name} {manifest.version} computes what its source does",
            f"{', '.join(sizes)}; float error ≤ {worst:.1e} of the range; int8 has "
            f"{sizes['tflite:int8'] / sizes['tflite:float32']:.0%} of the bytes",
            holds=set(sizes) == set(_VARIANTS) and worst < 1e-4,
        )
        return bundle

    def _start_fleet(self) -> str:
        with self._narrator.step("Start a fleet manager (SQLite, embedded broker) and log in"):
            token = self.fleet.start_manager()
            self.fleet.log_in(token)
        with self._narrator.step("Enrol three devices, each a process of its own, by token"):
            line = self.fleet.run("fleet", "token", "create", "--uses", "3", "--label", "site=demo")["token"]
            self.fleet.enrol(line)
            online = self.fleet.wait_for("three devices online", self._all_online)
            self._narrator.check(
                "three devices enrolled and are online", ", ".join(sorted(online)), holds=len(online) == 3
            )
        return token

    def _all_online(self) -> list[str] | None:
        with self.fleet.client() as client:
            online = [d.device.name for d in client.devices() if d.device.presence.online and d.reported_at]
        return online if len(online) == len(self.fleet.devices) else None

    def _first_version(self, bundle: Path) -> float:
        with self._narrator.step("Publish version 1, signed, and roll it out"):
            self.fleet.publish(bundle)
            rollout = self.fleet.roll_out("1.0.0", groups=["100%"])
            self._expect_finished(rollout, "1.0.0")
        with self._narrator.step("Send held-out digits to each device over HTTP"):
            return self._check_accuracy("1.0.0", at_least=GOOD_ENOUGH)

    def _better_version(self, bundle: Path, *, before: float) -> None:
        with self._narrator.step("Publish version 2 and roll it out in groups: one device, then the others"):
            self.fleet.publish(bundle)
            rollout = self.fleet.roll_out("2.0.0", groups=["1", "100%"])
            self._expect_finished(rollout, "2.0.0")
            first, second = rollout.groups
            passed, started = first.passed_at or 0.0, second.started_at or 0.0
            self._narrator.check(
                "the second group waited for the first",
                f"it started {started - passed:.1f} s after the first device had committed",
                holds=0 < passed <= started,
            )
        with self._narrator.step("Send the same digits again"):
            self._check_accuracy("2.0.0", at_least=before)

    def _broken_version(self, bundle: Path) -> None:
        with self._narrator.step("Publish version 3, which is broken in a way that only running it shows"):
            digest = self.fleet.publish(bundle)
            rollout = self.fleet.roll_out("3.0.0", groups=["1", "100%"])
            self._narrator.check(
                "the rollout of 3.0.0 halted", rollout.reason or "", holds=rollout.state is RolloutState.HALTED
            )
            self._expect_refused(rollout, digest)
        with self._narrator.step("Ask every device once more"):
            self._check_accuracy("2.0.0", at_least=GOOD_ENOUGH)

    def _expect_finished(self, rollout: Rollout, version: str) -> None:
        self._narrator.check(
            f"the rollout of {version} finished", f"state {rollout.state}", holds=rollout.state is RolloutState.FINISHED
        )
        with self.fleet.client() as client:
            reported = {d.device.name: d.models[0] for d in client.devices()}
        committed = [
            name for name, m in reported.items() if m.active_version == version and m.state is UpdateState.COMMITTED
        ]
        self._narrator.check(
            f"every device reports {version} as committed",
            ", ".join(f"{name} runs {reported[name].variant}" for name in sorted(committed)),
            holds=len(committed) == len(self.fleet.devices),
        )

    def _expect_refused(self, rollout: Rollout, digest: str) -> None:
        touched, refusals = self.fleet.touched_by(digest)
        members = self.fleet.members(rollout.id)
        self._narrator.check(
            "the self-test on the first device refused it",
            next(iter(refusals), "no device reported a refusal"),
            holds=len(refusals) == 1,
        )
        self._narrator.check(
            "no other device was touched",
            f"of {len(self.fleet.devices)} devices only {', '.join(touched)} heard of it",
            holds=len(touched) == 1 and len(members) == 1,
        )

    def _check_accuracy(self, version: str, *, at_least: float) -> float:
        """Ask every device for all held-out digits; return the lowest accuracy."""
        found = {device: self._accuracy(device, version) for device in self.fleet.devices}
        lowest = min(found.values())
        self._narrator.check(
            f"every device answers with {version}",
            f"{lowest:.1%} of {len(self._digits.held_out_labels)} held-out digits right, wanted ≥ {at_least:.1%}",
            holds=lowest >= at_least,
        )
        return lowest

    def _accuracy(self, device: DemoDevice, version: str) -> float:
        answered, seen = device.predict(self._digits.held_out_images)
        self._narrator.require(
            f"{device.name} answers with {version}", f"version {answered}", holds=answered == version
        )
        return float(np.mean(np.array(seen) == self._digits.held_out_labels))
