"""The fleet's time over the API: for whom, how often, and by which key."""

from __future__ import annotations

import json
import time

import pytest
from securesystemslib.signer import CryptoSigner

from edgemm.errors import UnavailableError
from edgemm.trust.signing import load_key
from edgemm.trust.time_statement import TIME_PATH, TimeQuestion, new_nonce, read_statement
from edgemm_fleet.trust.time_statements import _MAX_KEPT, PER_DEVICE, Allowance, AllowanceTable, TimeStatements
from tests.unit.fleet.api.servers import RunningFleet


def ask(fleet: RunningFleet, *, nonce: object = None, token: str | None = "viewer") -> tuple[int, bytes]:
    body = json.dumps({"nonce": nonce or new_nonce()})
    answer = fleet.request("POST", TIME_PATH, token=token, body=body)
    return answer.status, answer.data


def test_it_is_stated_over_the_nonce_by_the_timestamp_key(fleet: RunningFleet) -> None:
    nonce = new_nonce()
    fleet.clock.ahead_s = 3600
    status, answer = ask(fleet, nonce=nonce)
    assert status == 200
    keys = [load_key(fleet.folder.online_key("timestamp")).public_key]
    assert abs(read_statement(answer, fleet="plant", nonce=nonce, keys=keys, threshold=1) - time.time() - 3600) < 60


@pytest.mark.parametrize("nonce", ["", "0" * 31, "0" * 33, "x" * 32, 5, ["0" * 32]])
def test_a_question_without_a_nonce_is_refused(fleet: RunningFleet, nonce: object) -> None:
    answer = fleet.request("POST", TIME_PATH, token="viewer", body=json.dumps({"nonce": nonce}))
    assert answer.status == 400


def test_strangers_are_told_nothing(fleet: RunningFleet) -> None:
    assert ask(fleet, token=None)[0] == 401


def test_a_clock_that_cannot_be_right_states_nothing(fleet: RunningFleet) -> None:
    fleet.clock.ahead_s = 50 * 366 * 86400
    assert ask(fleet)[0] in {401, 503}


def test_who_asks_too_often_is_told_to_wait(fleet: RunningFleet) -> None:
    statuses = [ask(fleet)[0] for _ in range(int(PER_DEVICE.at_once) + 2)]
    assert statuses[: int(PER_DEVICE.at_once)] == [200] * int(PER_DEVICE.at_once)
    assert statuses[-1] == 429
    assert ask(fleet, token="operator")[0] == 200, "others are answered"


def test_allowances_are_refilled_and_kept_for_a_bounded_number() -> None:
    table = AllowanceTable(Allowance(at_once=2, per_s=0.5))
    for _ in range(2):
        table.take("a", 10.0)
    assert table.left("a", 10.0) == 0
    assert table.left("a", 12.0) == 1
    assert table.left("a", 1e9) == 2
    for number in range(_MAX_KEPT + 10):
        table.take(str(number), 20.0)
    assert len(table._left) == _MAX_KEPT


def test_all_together_have_an_end_too() -> None:
    statements = TimeStatements("plant", CryptoSigner.generate_ed25519, monotonic=lambda: 0.0)
    question = TimeQuestion(nonce=new_nonce())
    statements.answer(question, asker="d", address="a", now=time.time())
    statements._tables[2]._left[""] = (0.5, 0.0)
    assert statements.answer(question, asker="e", address="b", now=time.time()) is None


def test_nothing_is_stated_by_a_clock_that_has_just_leapt() -> None:
    statements = TimeStatements("plant", CryptoSigner.generate_ed25519, settled=lambda: False)
    with pytest.raises(UnavailableError, match="has just leapt"):
        statements.answer(TimeQuestion(nonce=new_nonce()), asker="d", address="a", now=time.time())
