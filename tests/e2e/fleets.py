"""A fleet as an operator has it: a served folder, devices that joined by token, and the command line.

Everything goes through the `edgemm` command; what has to be looked at often is asked over the documented HTTP API.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import urllib3

from simulators.models import make_bundle
from simulators.mosquitto import free_port
from simulators.waiting import eventually
from tests.e2e.processes import Done, Place, Program, Programs, run_edgemm

READY = 200
X = [[0.1, 0.2, 0.3, 0.4]]


class Device:
    """One `edgemm run --fleet`; it may be killed and started again on the same state."""

    def __init__(self, fleet: Fleet, name: str, state: Path | None = None) -> None:
        self._fleet, self.name = fleet, name
        self.state = state or fleet.place.folder / "states" / name
        self.http = urllib3.PoolManager(retries=False, timeout=60.0)

    def start(
        self, *, token: str | None = None, url: str | None = None, labels: tuple[str, ...] = (),
        options: tuple[str, ...] = (),
    ) -> Self:  # fmt: skip
        """Start it; without a token it has to know who it is."""
        more: list[str] = []
        if token is not None:  # in a file, for every user of a machine sees its command lines
            file = self._fleet.place.folder / f"{self.name}.token"
            file.write_text(token)
            more = ["--token-file", str(file), "--name", self.name]
        for label in labels:
            more += ["--label", label]
        self.program: Program = self._fleet.programs.start(
            self.name,
            "run",
            "--fleet",
            url or self._fleet.device_url,
            "--port",
            "0",
            "--state-dir",
            self.state,
            *more,
            *options,
        )
        return self

    @property
    def id(self) -> str:
        """The id that the fleet gave it."""
        return self.program.wait_for(r"(?:enrolled|connected|joined) device=(\S+)")

    @property
    def address(self) -> str:
        """Where it answers."""
        return self.program.wait_for(r"address=(http://\S+)")

    def ready(self) -> bool:
        """Tell whether it says that it is ready."""
        return bool(self.http.request("GET", f"{self.address}/v2/health/ready").status == READY)

    def wait_until_ready(self) -> Self:
        """Wait until it answers predictions."""
        eventually(self.ready, f"{self.name} is ready")
        return self

    def predict(self) -> tuple[int, Any]:
        """Ask it over HTTP; return the status and the answer."""
        answer = self.http.request("POST", f"{self.address}/predict", json={"inputs": X})
        return answer.status, answer.json()

    def version(self) -> str:
        """Return which version answers."""
        status, answer = self.predict()
        assert status == READY, answer
        return str(answer["version"])

    def kill(self) -> None:
        """Cut its power."""
        self.program.kill()

    def report(self) -> Any:
        """Return what the fleet manager shows of it."""
        return self._fleet.api(f"/devices/{self.id}")

    def online(self) -> bool:
        """Tell whether the fleet manager sees it, and knows what it runs."""
        seen = self.report()
        return bool(seen["device"]["presence"]["online"]) and seen["reported"] is not None

    def state_of(self, version: str, model: str = "tiny") -> tuple[str, str | None] | None:
        """Return the state and reason that it last reported of a version; None if it never was in a rollout of it."""
        reported = self.report()["reported"]
        models = [] if reported is None else reported["models"]
        found = [(m["state"], m["reason"]) for m in models if (m["name"], m["version"]) == (model, version)]
        return found[0] if found else self._failed_in(version)

    def _failed_in(self, version: str) -> tuple[str, str | None] | None:
        """Return how a version ended here that a halted rollout took back since."""
        rollouts = [r["id"] for r in self._fleet.api("/rollouts")["items"] if r["plan"]["version"] == version]
        members = [m for r in rollouts for m in self._fleet.api(f"/rollouts/{r}/members")["items"]]
        ended = [m for m in members if m["device"] == self.id and m["state"] in {"failed", "excused"}]
        return (ended[0]["update_state"], ended[0]["reason"]) if ended else None

    def wait_for_state(self, version: str, *states: str) -> tuple[str, str | None]:
        """Wait until it reported one of some states of a version."""
        eventually(lambda: (self.state_of(version) or ("",))[0] in states, f"{self.name}: {version} is {states}")
        found = self.state_of(version)
        assert found is not None
        return found

    def events(self) -> list[dict[str, Any]]:
        """Return all its stored events, oldest first."""
        page = self._fleet.api(f"/devices/{self.id}/events?limit=1000")
        assert page["next"] is None
        return [stored["event"] for stored in reversed(page["items"])]

    def causes(self, version: str) -> list[str]:
        """Return the causes of its stored events about a version, in order."""
        return [event["cause"] for event in self.events() if event["version"] == version]


class Fleet:
    """A fleet folder, its server, its administrator's command line and its devices; a context manager."""

    def __init__(self, folder: Path, *, name: str = "home", scheme: str = "http") -> None:
        self.place = Place.make(folder)
        self.programs = Programs(self.place)
        self.name, self.folder = name, folder / name
        self.port = free_port()
        host = "localhost" if scheme == "https" else "127.0.0.1"
        self.url = self.device_url = f"{scheme}://{host}:{self.port}"
        self.broker = f"embedded:{free_port()}"
        self.devices: list[Device] = []
        self.made: dict[str, Any] = {}
        self.serve_options: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.programs.__exit__()

    def init(self) -> Self:
        """Make it."""
        self.made = self.json("init", self.folder, "--public-url", self.url)
        return self

    def serve(self, *options: str) -> Self:
        """Serve it and wait until it answers."""
        self.server = self.programs.start(
            "serve", "fleet", "serve", self.folder, "--broker", self.broker, "--listen", f"127.0.0.1:{self.port}",
            *(options or self.serve_options),
        )  # fmt: skip
        self.serve_options = list(options or self.serve_options)
        self.server.wait_for("(serving fleet)")
        return self

    def up_over_mosquitto(self, program: Path) -> Program:
        """Make it, serve it over a Mosquitto of its own with the files that it writes for one, log in."""
        port = free_port()
        self.broker = f"mqtt://127.0.0.1:{port}"
        files = self.place.folder / "broker"
        files.mkdir()
        pid = files / "mosquitto.pid"
        self.init().serve("--mosquitto", str(files), "--mosquitto-pid", str(pid))
        broker = self.programs.start("mosquitto", "-v", "-c", files / "mosquitto.conf", program=program)
        broker.wait_for("(mosquitto version .* running|Opening ipv4 listen socket)")
        pid.write_text(str(broker.pid))
        self.login()
        return broker

    def login(self) -> Self:
        """Log the administrator in."""
        done = self.run("login", self.url, "--token-file", "-", stdin=str(self.made["token"]))
        assert done.status == 0, done
        return self

    def up(self, *options: str) -> Self:
        """Make it, serve it, log in."""
        return self.init().serve(*options).login()

    def run(self, *arguments: str | Path, at: Place | None = None, stdin: str = "") -> Done:
        """Run `edgemm fleet …` to its end."""
        return run_edgemm("fleet", *arguments, at=at or self.place, stdin=stdin)

    def ok(self, *arguments: str | Path) -> str:
        """Run `edgemm fleet …`, which has to succeed; return its stdout."""
        done = self.run(*arguments)
        assert done.status == 0, (arguments, done)
        return done.out

    def json(self, *arguments: str | Path) -> Any:
        """Run `edgemm fleet … --json`; return the document."""
        return self.run(*arguments, "--json").json()

    def api(self, path: str, method: str = "GET", **more: Any) -> Any:
        """Ask the HTTP API as the administrator."""
        with urllib3.PoolManager(
            retries=False, timeout=60.0, cert_reqs="CERT_NONE", assert_fingerprint=self.made["tls_fingerprint"]
        ) as pool:
            headers = {"Authorization": f"Bearer {self.made['token']}"}
            answer = pool.request(method, f"{self.url}/api/v1{path}", headers=headers, **more)
        assert answer.status < 300, (answer.status, answer.data)
        return json.loads(answer.data)

    def token(self, *options: str) -> str:
        """Make an enrolment token."""
        return str(self.json("token", "create", *options)["token"])

    def join(self, *names: str, labels: tuple[str, ...] = (), options: tuple[str, ...] = ()) -> list[Device]:
        """Start devices that join by one token, and wait until the fleet sees them online."""
        token = self.token("--uses", str(len(names)))
        joined = [Device(self, name).start(token=token, labels=labels, options=options) for name in names]
        self.devices += joined
        for device in joined:
            eventually(device.online, f"{device.name} is online and has reported")
        return joined

    def publish(self, version: str, *options: str, seed: int | None = None, **made: Any) -> str:
        """Make a tiny model of a version and publish it; return its digest."""
        bundle = self.place.folder / f"tiny-{version}.edgemm"
        make_bundle(bundle, version=version, seed=int(version[0]) if seed is None else seed, **made)
        return str(self.json("publish", bundle, *options)["record"]["digest"])

    def rollout(self, version: str, *options: str, status: int = 0) -> str:
        """Roll a version out and wait; return the rollout's id."""
        done = self.run("rollout", "create", "tiny", version, "--probation", "0s", *options, "--wait")
        assert done.status == status, done
        return str(self.last_rollout()["id"])

    def last_rollout(self) -> Any:
        """Return the newest rollout."""
        return self.api("/rollouts?limit=1")["items"][0]

    def rollout_state(self, rollout: str) -> str:
        """Return the state of a rollout."""
        return str(self.api(f"/rollouts/{rollout}")["rollout"]["state"])

    def logs(self) -> str:
        """Return what its processes printed."""
        return self.programs.logs()
