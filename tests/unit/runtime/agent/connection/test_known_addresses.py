"""The addresses that a fleet announced, and those of the enrolment, in the order in which a device tries them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from edgemm import canonical
from edgemm.trust.addresses import BrokerAddress, FleetAddresses, ServerAddress
from edgemm.trust.enrolment import BrokerAccess
from edgemm_fleet.trust.certificate import create_certificate, fingerprint
from edgemm_runtime.agent.connection.fleet_connection import FleetConnection
from edgemm_runtime.agent.connection.known_addresses import KnownAddresses, brokers, servers
from edgemm_runtime.agent.state.documents import IdentityFile
from edgemm_runtime.agent.state.state_folder import StateFolder

OLD, NEW = "a" * 64, "b" * 64
LOGIN = BrokerAccess(host="old.example", port=8883, tls=True, username="cam-1", password="secret", ca="PEM")
IDENTITY = IdentityFile(
    url="https://old.example:8443", tls_fingerprint=OLD, token_id="t", fleet="home", device="cam-1", bearer="b",
    broker=LOGIN, root="{}",
)  # fmt: skip
ANNOUNCED = FleetAddresses(
    fleet="home",
    servers=(
        ServerAddress(url="https://new.example:8443", pins=(NEW, OLD)),
        ServerAddress(url="http://elsewhere.example", pins=(NEW,)),
        ServerAddress(url="https://public.example"),
    ),
    brokers=(BrokerAddress(host="new.example", port=8884, ca="NEW"), BrokerAddress(host="far", port=1883, tls=False)),
)


def test_without_an_announcement_the_enrolment_counts() -> None:
    assert servers(None, IDENTITY) == [(IDENTITY.url, OLD)]
    assert brokers(None, IDENTITY) == [LOGIN]


def test_what_was_announced_is_tried_first_and_never_in_plain_words() -> None:
    assert servers(ANNOUNCED, IDENTITY) == [
        ("https://new.example:8443", NEW),
        ("https://new.example:8443", OLD),
        ("https://public.example", None),
        (IDENTITY.url, OLD),
    ]
    assert brokers(ANNOUNCED, IDENTITY) == [replace(LOGIN, host="new.example", port=8884, ca="NEW"), LOGIN]


def test_a_revoked_certificate_is_trusted_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "c.pem"
    create_certificate(path, tmp_path / "k.pem", names=[], now=datetime.now(UTC))
    identity = replace(IDENTITY, broker=replace(LOGIN, ca=path.read_text()))
    revoked = replace(ANNOUNCED, revoked=(OLD, fingerprint(path)))
    assert servers(revoked, identity) == [("https://new.example:8443", NEW), ("https://public.example", None)]
    assert [one.host for one in brokers(revoked, identity)] == ["new.example"]


@pytest.mark.parametrize(
    "host", ["x y", "u:p@h", "a..b", "a" * 64, "256.1.1.1", "k\u00fcche", "0.0.0.0", "[::", "a\x00b", "[ff02::1]", "-"]
)
def test_an_address_that_cannot_be_and_is_signed_all_the_same_leaves_those_of_before(host: str, tmp_path: Path) -> None:
    signed = replace(
        ANNOUNCED,
        servers=(ServerAddress(url=f"https://{host}:1", pins=(NEW,)), ANNOUNCED.servers[0]),
        brokers=(BrokerAddress(host=host, port=1), ANNOUNCED.brokers[0]),
    )
    folder = StateFolder(tmp_path)
    KnownAddresses(folder, IDENTITY).take(canonical.encode(signed))
    known = KnownAddresses(folder, IDENTITY)  # as after a start
    assert known.servers() == [(ANNOUNCED.servers[0].url, NEW), (ANNOUNCED.servers[0].url, OLD), (IDENTITY.url, OLD)]
    assert [one.host for one in known.brokers()] == ["new.example", "old.example"]
    server = FleetConnection(IDENTITY.url, tls_fingerprint=OLD, connect_timeout_s=1, read_timeout_s=1)
    server.use(known.servers())
    assert server.url == ANNOUNCED.servers[0].url
    folder.close()


def test_it_is_kept_over_a_start(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    KnownAddresses(folder, IDENTITY).take(canonical.encode(ANNOUNCED))
    again = KnownAddresses(folder, IDENTITY)
    assert again.servers() == servers(ANNOUNCED, IDENTITY)
    again.take(None)
    assert again.brokers() == brokers(ANNOUNCED, IDENTITY)
    folder.close()


@pytest.mark.parametrize(
    "data",
    [b"{}", b"\xff", canonical.encode(replace(ANNOUNCED, fleet="other")), canonical.encode(ANNOUNCED)[:-3]],
    ids=["nothing", "no JSON", "another fleet's", "cut short"],
)
def test_what_is_no_announcement_changes_nothing(tmp_path: Path, data: bytes) -> None:
    folder = StateFolder(tmp_path)
    known = KnownAddresses(folder, IDENTITY)
    known.take(data)
    assert known.servers() == servers(None, IDENTITY)
    folder.close()
