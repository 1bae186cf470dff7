"""A certificate is prepared, announced and put into use; a process that is killed at any write leaves a pair."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgemm import durable
from edgemm.errors import ConflictError, EnvironmentFailure, InputError
from edgemm.trust.addresses import BrokerAddress, FleetAddresses, ServerAddress, described
from edgemm_fleet.trust import announcement, next_certificate
from edgemm_fleet.trust.certificate import create_certificate, fingerprint
from edgemm_fleet.trust.fleet_folder import FleetFolder

NOW = datetime.now(UTC)


@pytest.fixture
def folder(tmp_path: Path) -> FleetFolder:
    made = FleetFolder(tmp_path)
    made.certificate.parent.mkdir()
    create_certificate(made.certificate, made.certificate_key, names=["a"], now=NOW)
    return made


def _is_a_pair(folder: FleetFolder) -> None:
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(folder.certificate, folder.certificate_key)


def test_what_was_prepared_is_put_into_use(folder: FleetFolder) -> None:
    with pytest.raises(ConflictError, match="edgemm fleet cert renew"):
        next_certificate.switch(folder)
    old = fingerprint(folder.certificate)
    path = next_certificate.prepare(folder, names=["a"], now=NOW)
    prepared = fingerprint(path)
    assert next_certificate.prepare(folder, names=["a"], now=NOW) == path
    assert fingerprint(path) == prepared != old
    assert next_certificate.switch(folder) == prepared == fingerprint(folder.certificate)
    assert not path.exists()
    _is_a_pair(folder)
    next_certificate.prepare_previous(folder)
    assert next_certificate.switch(folder) == old
    _is_a_pair(folder)
    next_certificate.prepare_previous(folder)
    assert next_certificate.switch(folder) == prepared
    next_certificate.forget_previous(folder)
    with pytest.raises(ConflictError, match="not here any more"):
        next_certificate.prepare_previous(folder)


@pytest.mark.parametrize("step", range(5))
def test_a_switch_that_is_cut_short_is_ended_by_the_next(
    folder: FleetFolder, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = fingerprint(folder.certificate)
    prepared = fingerprint(next_certificate.prepare(folder, names=["a"], now=NOW))
    left, write = [step], durable.write

    def killed(path: Path, data: bytes, *, mode: int = 0o644) -> None:
        if left[0] == 0:
            raise EnvironmentFailure("killed")
        left[0] -= 1
        write(path, data, mode=mode)

    with monkeypatch.context() as patch:
        patch.setattr(durable, "write", killed)
        with pytest.raises(EnvironmentFailure):
            next_certificate.switch(folder)
    next_certificate.finish_switch(folder)
    _is_a_pair(folder)
    next_certificate.finish_switch(folder)
    if fingerprint(folder.certificate) != prepared:
        assert step == 0
        next_certificate.switch(folder)
    assert fingerprint(folder.certificate) == prepared
    next_certificate.prepare_previous(folder)
    next_certificate.switch(folder)
    _is_a_pair(folder)
    assert fingerprint(folder.certificate) == old


def test_a_new_certificate_is_trusted_beside_the_old_one_and_then_alone(folder: FleetFolder) -> None:
    old = folder.certificate.read_text()
    new = next_certificate.prepare(folder, names=["a"], now=NOW).read_text()
    before = FleetAddresses(
        fleet="home",
        servers=(ServerAddress(url="https://a", pins=(announcement.pin(old),)), ServerAddress(url="https://public")),
        brokers=(BrokerAddress(host="a", port=8883, ca=old), BrokerAddress(host="b", port=8883, ca="OTHER")),
    )
    both = announcement.with_certificate(before, old=old, new=new)
    assert both.servers[0].pins == (announcement.pin(new), announcement.pin(old))
    assert both.servers[1].pins == ()
    assert [old in (one.ca or "") and new in (one.ca or "") for one in both.brokers] == [True, False]
    assert announcement.with_certificate(both, old=old, new=new) == both
    alone = announcement.without_others(both, certificate=new)
    assert alone.servers[0].pins == (announcement.pin(new),)
    assert alone.revoked == (announcement.pin(old),)
    assert [one.ca for one in alone.brokers] == [new, "OTHER"]
    assert any(line.startswith("revoked") for line in described(alone))


def test_new_addresses_go_first_and_old_ones_can_be_dropped() -> None:
    one = ServerAddress(url="https://a", pins=("a" * 64,))
    before = FleetAddresses(fleet="home", servers=(one,), brokers=(BrokerAddress(host="a", port=1),))
    moved = announcement.with_servers(before, [ServerAddress(url="https://b", pins=("a" * 64,))])
    moved = announcement.with_brokers(moved, [BrokerAddress(host="b", port=2)])
    assert [server.url for server in moved.servers] == ["https://b", "https://a"]
    assert [broker.host for broker in moved.brokers] == ["b", "a"]
    dropped = announcement.without(moved, ["https://a/", "a:1"])
    assert (len(dropped.servers), len(dropped.brokers)) == (1, 1)
    announcement.document(dropped)
    with pytest.raises(InputError, match="--drop 'https://c'"):
        announcement.without(moved, ["https://c"])
    with pytest.raises(InputError, match="expected 1 to 8"):
        announcement.document(announcement.without(dropped, ["https://b"]))
