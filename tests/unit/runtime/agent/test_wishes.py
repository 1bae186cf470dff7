from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from securesystemslib.signer import CryptoSigner

from edgemm import canonical, durable, times
from edgemm.errors import EnvironmentFailure, MessageError, TrustError, UnreachableError
from edgemm.messages import Action, Desired, VariantPolicy
from edgemm.messages.generations import of_time
from edgemm.trust.signing import PayloadType, key_document, seal
from edgemm_runtime.agent.acceptance import Acceptance, Whom
from edgemm_runtime.agent.director_keys import KeyFetch
from edgemm_runtime.agent.state.documents import DirectorFile, FleetDocuments
from edgemm_runtime.agent.state.state_folder import StateFolder
from edgemm_runtime.agent.state.trusted_time import TrustedTime
from edgemm_runtime.agent.wishes import WaitingEnvelope, Wishes
from simulators.device_records import wanted

NOW = TrustedTime(times.from_text("2027-01-05T00:00:00Z"), clock_synced=True)
DAY_S = 86400
DESIRED = Desired(
    fleet="home", device="pi", generation=7, not_before="2027-01-01T00:00:00Z", expires="2027-01-08T00:00:00Z",
    models=(wanted("1.0.0"),),
)  # fmt: skip


class _Bench:
    """A director and the device that listens to it; `away` is a fleet manager that does not answer."""

    def __init__(self, path: Path) -> None:
        self.folder = StateFolder(path)
        self.signer = CryptoSigner.generate_ed25519()
        self.away = False
        self.later_keys: list[dict[str, object]] = []
        self.fetched = 0
        self.elapsed_s = 0.0
        self.signals = threading.Event()

    def documents(self) -> FleetDocuments:
        if self.away:
            raise UnreachableError("no answer")
        self.fetched += 1
        return FleetDocuments(canonical.encode(DirectorFile(fleet="home", keys=(*self.later_keys, *self.own_keys()))))

    def own_keys(self) -> list[dict[str, object]]:
        return [key_document(self.signer.public_key)]

    def start(self) -> Wishes:
        """Return the wishes of a newly started agent."""
        self.fetch = KeyFetch(self, fetched=self.signals.set, monotonic=lambda: self.elapsed_s)
        return Wishes(self.folder, self.fetch, Whom("home", "pi"), now=lambda: NOW)

    def receive(self, wishes: Wishes, data: bytes) -> Acceptance | None:
        """Have an envelope received, as the agent's loop does, and again once keys have come."""
        answer = wishes.receive(data)
        if answer is None:
            assert self.signals.wait(60)
            self.signals.clear()
            documents = self.fetch.take()
            assert [one.data for one in wishes.take_keys(documents.director if documents else None)] == [data]
            answer = wishes.receive(data, again=True)
        return answer

    def sealed(self, desired: Desired = DESIRED) -> bytes:
        return seal(desired, PayloadType.DESIRED, self.signer)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[_Bench]:
    bench = _Bench(tmp_path)
    yield bench
    bench.folder.close()


def test_a_start_without_a_network_knows_what_is_wanted(bench: _Bench) -> None:
    assert bench.receive(bench.start(), bench.sealed()) is Acceptance.ACCEPTED
    bench.away = True
    again = bench.start()
    assert again.restore() == DESIRED
    assert bench.receive(again, bench.sealed()) is Acceptance.UNCHANGED
    assert bench.receive(again, bench.sealed(replace(DESIRED, generation=6))) is Acceptance.OLDER
    assert bench.folder.path("desired.json").read_bytes() == bench.sealed()


def test_what_is_refused_is_not_kept(bench: _Bench) -> None:
    wishes = bench.start()
    bench.receive(wishes, bench.sealed())
    assert bench.receive(wishes, bench.sealed(replace(DESIRED, models=()))) is Acceptance.CONFLICT
    assert bench.receive(wishes, bench.sealed(replace(DESIRED, generation=8, device="other"))) is Acceptance.FOREIGN
    assert wishes.current == DESIRED
    assert bench.start().restore() == DESIRED


def test_a_renewal_is_kept(bench: _Bench) -> None:
    wishes = bench.start()
    bench.receive(wishes, bench.sealed())
    renewed = replace(DESIRED, expires="2027-02-01T00:00:00Z")
    assert bench.receive(wishes, bench.sealed(renewed)) is Acceptance.RENEWED
    assert bench.start().restore() == renewed


def test_the_director_may_change_its_key(bench: _Bench) -> None:
    wishes = bench.start()
    bench.receive(wishes, bench.sealed())
    bench.signer, bench.elapsed_s = CryptoSigner.generate_ed25519(), 60.0
    assert bench.receive(wishes, bench.sealed(replace(DESIRED, generation=8))) is Acceptance.ACCEPTED


def test_what_a_replaced_key_said_is_given_up_whatever_its_generation(bench: _Bench) -> None:
    wishes = bench.start()
    bench.receive(wishes, bench.sealed(replace(DESIRED, generation=of_time(NOW.seconds + 600 * DAY_S))))
    stolen, bench.signer, bench.elapsed_s = bench.signer, CryptoSigner.generate_ed25519(), 60.0
    assert bench.fetch.begin()
    documents = bench.fetch.take()
    assert documents is not None
    assert wishes.take_keys(documents.director) == []
    assert wishes.current is None
    assert bench.receive(wishes, bench.sealed(replace(DESIRED, generation=8))) is Acceptance.ACCEPTED
    forged = seal(replace(DESIRED, generation=9), PayloadType.DESIRED, stolen)
    with pytest.raises(TrustError):
        bench.receive(wishes, forged)
    assert bench.start().restore() == replace(DESIRED, generation=8)


def test_the_keys_are_looked_for_now_and_then(bench: _Bench) -> None:
    bench.start()
    fetch = KeyFetch(bench, fetched=bench.signals.set, monotonic=lambda: bench.elapsed_s, every_s=3600.0)
    assert not fetch.due()
    bench.elapsed_s = 300.0
    assert fetch.due()
    bench.away = True
    fetch.begin()
    assert fetch.take() is None
    bench.elapsed_s += 300.0
    assert fetch.due()
    bench.away = False
    fetch.begin()
    assert fetch.take() is not None
    bench.elapsed_s += 1799.0
    assert not fetch.due()
    bench.elapsed_s += 1801.0
    assert fetch.due()


def test_keys_that_are_replaced_one_after_the_other_are_each_believed_at_once(bench: _Bench) -> None:
    wishes = bench.start()
    for number in range(12):  # and no time passes
        bench.signer = CryptoSigner.generate_ed25519()
        sealed = bench.sealed(replace(DESIRED, generation=7 + number))
        assert bench.receive(wishes, sealed) is Acceptance.ACCEPTED
    assert bench.fetched == 12


def test_what_came_while_keys_were_fetched_has_them_fetched_once_more(bench: _Bench) -> None:
    wishes, first = bench.start(), bench.sealed()
    assert wishes.receive(first) is None
    assert bench.signals.wait(60)
    bench.signer = CryptoSigner.generate_ed25519()  # replaced again, after the fetch was answered
    second = bench.sealed(replace(DESIRED, generation=8))
    assert wishes.receive(second) is None
    waiting = _take(bench, wishes)
    assert [(one.data, one.late) for one in waiting] == [(first, False), (second, True)]
    assert wishes.receive(first, again=True) is Acceptance.ACCEPTED
    assert wishes.receive(second) is None
    assert bench.signals.wait(60)
    assert [(one.data, one.late) for one in _take(bench, wishes)] == [(second, False)]
    assert wishes.receive(second, again=True) is Acceptance.ACCEPTED


def test_what_was_refused_is_obeyed_once_its_key_is_heard_of(bench: _Bench) -> None:
    wishes = bench.start()
    bench.receive(wishes, bench.sealed())
    for number in range(20):
        forged = seal(replace(DESIRED, generation=50 + number), PayloadType.DESIRED, CryptoSigner.generate_ed25519())
        with pytest.raises(TrustError):
            bench.receive(wishes, forged)
    bench.signer = CryptoSigner.generate_ed25519()
    honest = bench.sealed(replace(DESIRED, generation=8))
    with pytest.raises(TrustError):
        wishes.receive(honest)  # there were too many looks for nothing
    assert not bench.fetch.due()
    bench.elapsed_s = 61.0
    assert bench.fetch.due(), "nobody has to send it again"
    assert bench.fetch.begin()
    assert [one.data for one in _take(bench, wishes)] == [honest]
    assert wishes.receive(honest, again=True) is Acceptance.ACCEPTED


def test_keys_that_could_not_be_fetched_are_asked_for_again(bench: _Bench) -> None:
    bench.away = True
    wishes = bench.start()
    with pytest.raises(TrustError):
        bench.receive(wishes, bench.sealed())
    assert not bench.fetch.begin()
    bench.away, bench.elapsed_s = False, 10.0
    assert bench.fetch.due()
    assert bench.fetch.begin()
    assert [one.data for one in _take(bench, wishes)] == [bench.sealed()]


def _take(bench: _Bench, wishes: Wishes) -> list[WaitingEnvelope]:
    """Take what was fetched, as the agent's loop does."""
    documents = bench.fetch.take()
    bench.signals.clear()
    return wishes.take_keys(documents.director if documents else None)


def test_a_second_key_of_the_director_changes_no_order(bench: _Bench) -> None:
    wishes, first = bench.start(), bench.signer
    bench.receive(wishes, bench.sealed())
    bench.signer, bench.elapsed_s = CryptoSigner.generate_ed25519(), 60.0
    bench.later_keys = [key_document(first.public_key)]
    assert bench.receive(wishes, bench.sealed(replace(DESIRED, generation=6))) is Acceptance.OLDER


def test_what_is_echoed_is_the_hash_of_what_came_with_fields_of_a_later_version(bench: _Bench) -> None:
    wishes = bench.start()
    bench.receive(wishes, bench.sealed())
    assert wishes.current_hash == DESIRED.content_hash()
    bench.receive(wishes, bench.sealed(replace(DESIRED, expires="2027-02-01T00:00:00Z")))
    assert wishes.current_hash == DESIRED.content_hash(), "a renewal says the same"
    later = _LaterDesired(**{name: getattr(DESIRED, name) for name in DESIRED.__struct_fields__}, window="at night")
    later = replace(later, generation=8)
    assert bench.receive(wishes, seal(later, PayloadType.DESIRED, bench.signer)) is Acceptance.ACCEPTED
    assert wishes.current_hash == later.content_hash()
    assert bench.start().restore() == wishes.current


class _LaterDesired(Desired, frozen=True, kw_only=True):
    window: str


@pytest.mark.parametrize("data", [b"", b"{}", b"x" * 40_000])
def test_what_cannot_be_read_is_one_clear_line(bench: _Bench, data: bytes) -> None:
    with pytest.raises(MessageError, match="desired|envelope"):
        bench.start().receive(data)


def test_keys_that_are_the_same_again_are_asked_for_ever_less_often(bench: _Bench) -> None:
    wishes, stranger = bench.start(), CryptoSigner.generate_ed25519()
    bench.receive(wishes, bench.sealed())
    for number in range(3600):  # a broker that sends what nobody signed, each second of an hour
        bench.elapsed_s += 1.0
        data = seal(replace(DESIRED, generation=100 + number), PayloadType.DESIRED, stranger)
        with pytest.raises(TrustError):
            bench.receive(wishes, data)
    assert bench.fetched <= 12


LATER_KEY: dict[str, object] = {"keytype": "ml-dsa", "scheme": "ml-dsa-65", "keyval": {"public": "00"}}


def test_a_key_of_a_later_kind_is_passed_over_alone(bench: _Bench) -> None:
    bench.later_keys = [LATER_KEY]
    assert bench.receive(bench.start(), bench.sealed()) is Acceptance.ACCEPTED
    assert bench.start().restore() == DESIRED


def test_where_all_keys_are_of_a_later_kind_nobody_is_believed(bench: _Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.later_keys = [LATER_KEY]
    monkeypatch.setattr(bench, "own_keys", list)
    with pytest.raises(TrustError):
        bench.receive(bench.start(), bench.sealed())


def test_words_of_a_later_fleet_leave_the_rest_of_a_wish_as_it_is(bench: _Bench) -> None:
    later = replace(wanted("2.0.0"), name="other", variants=VariantPolicy("fastest"))
    mixed = replace(DESIRED, models=(wanted("1.0.0"), later), actions=(Action(id="a", kind="calibrate"),))
    assert bench.receive(bench.start(), bench.sealed(mixed)) is Acceptance.ACCEPTED
    kept = bench.start().restore()
    assert kept == mixed
    assert [model.unknown for model in kept.models] == [(), ("variants=fastest",)]


def test_a_stranger_is_not_believed_and_does_not_make_the_device_ask_all_the_time(bench: _Bench) -> None:
    wishes = bench.start()
    bench.receive(wishes, bench.sealed())
    forged = seal(replace(DESIRED, generation=8), PayloadType.DESIRED, CryptoSigner.generate_ed25519())
    for _ in range(20):
        with pytest.raises(TrustError, match="not signed by the key that is trusted for it"):
            bench.receive(wishes, forged)
    assert bench.fetched <= 4


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b"[]", b"x" * 40_000])
def test_what_is_no_envelope(bench: _Bench, data: bytes) -> None:
    with pytest.raises(MessageError):
        bench.receive(bench.start(), data)


def test_a_date_that_is_none(bench: _Bench) -> None:
    with pytest.raises(MessageError, match="a date that is none"):
        bench.receive(bench.start(), bench.sealed(replace(DESIRED, expires="2027-02-31T00:00:00Z")))


def test_a_damaged_file_is_as_good_as_none(bench: _Bench) -> None:
    bench.receive(bench.start(), bench.sealed())
    path = bench.folder.path("desired.json")
    path.write_bytes(path.read_bytes()[:-20])
    assert bench.start().restore() is None
    assert bench.receive(bench.start(), bench.sealed()) is Acceptance.ACCEPTED


def test_a_full_disk_does_not_keep_the_device_from_obeying(bench: _Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes, *, mode: int = 0o644) -> None:
        raise EnvironmentFailure(f"cannot write {path}: No space left on device; nothing was changed")

    monkeypatch.setattr(durable, "write", full)
    wishes = bench.start()
    assert bench.receive(wishes, bench.sealed()) is Acceptance.ACCEPTED
    assert wishes.current == DESIRED
