"""A change is signed on other machines: what is edited, stale, foreign or signed by the wrong key ends in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner

from edgemm.cli import run
from edgemm.trust.signing import load_key

Said = pytest.CaptureFixture[str]
Change = dict[str, Any]
STRANGER = CryptoSigner.generate_ed25519().public_key


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said) -> Path:
    """A server's `fleet`, and `m1`, `m2`, `m3`: machines with a root key each, of which two must sign, and more."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    assert run(["fleet", "init", "fleet", "--public-url", "https://fleet.example:8443", "--root-keys", "3"]) == 0
    for number in (1, 2, 3):
        Path(f"m{number}").mkdir()
        Path(f"fleet/offline-keys/root-{number}.pem").rename(f"m{number}/root.pem")
    Path("fleet/offline-keys/targets.pem").rename("m1/targets.pem")
    capsys.readouterr()
    return tmp_path


def keys(*arguments: str) -> int:
    here = () if arguments[0] in {"sign", "inspect", "create"} else ("--folder", "fleet")
    return run(["fleet", "keys", *arguments, *here])


def one_line(said: Said, *parts: str) -> None:
    out, err = said.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    for part in parts:
        assert part in err, err


def propose(*roles: str, file: str = "change.json") -> Path:
    assert keys("rotate", *roles, "--propose", file) == 0
    return Path(file)


def everything() -> dict[str, bytes]:
    """Return all files of the fleet folder but the database, which has an audit log."""
    files = [path for path in Path("fleet").rglob("*") if path.is_file() and not path.name.startswith("fleet.db")]
    return {str(path): path.read_bytes() for path in files}


def test_a_lost_root_key_is_replaced_by_the_two_others(place: Path, capsys: Said) -> None:
    lost = load_key(Path("m3/root.pem")).public_key.keyid
    Path("m3/root.pem").unlink()
    assert keys("create", "m3/new.pem") == 0
    assert (
        keys("rotate", "root", "--replace", lost[:8], "--new-key", "m3/new.pub.json", "--propose", "change.json") == 0
    )
    for _ in range(2):  # again is no second signature
        assert keys("sign", "change.json", "--key", "m1/root.pem") == 0
    capsys.readouterr()
    before = everything()
    assert keys("apply", "change.json") == 1
    one_line(capsys, "not wholly signed: root: 1 more of the root keys so far")
    assert keys("apply", "change.json", "change.json") == 1
    one_line(capsys, "not wholly signed")
    assert everything() == before
    assert keys("sign", "change.json", "--key", "m3/new.pem") == 0
    capsys.readouterr()
    assert keys("apply", "change.json") == 1, "the new one is none of those so far"
    one_line(capsys, "1 more of the root keys so far")
    assert keys("sign", "change.json", "--key", "m2/root.pem") == 0
    assert keys("apply", "change.json") == 0
    capsys.readouterr()
    assert keys("apply", "change.json") == 1
    one_line(capsys, "to just that; nothing is to be done")


def test_of_two_proposals_at_once_the_second_is_stale(place: Path, capsys: Said) -> None:
    first, second = propose("timestamp", file="first.json"), propose("timestamp", file="second.json")
    for file in (first, second):
        for machine in ("m1", "m2"):
            assert keys("sign", str(file), "--key", f"{machine}/root.pem") == 0
    capsys.readouterr()
    assert keys("apply", str(first), str(second)) == 2
    one_line(capsys, "not copies of one proposal")
    assert keys("apply", str(second)) == 0
    capsys.readouterr()
    before = everything()
    assert keys("apply", str(first)) == 1
    one_line(capsys, "changed since this was proposed; propose it anew")
    assert everything() == before
    assert keys("list") == 0
    assert "a timestamp key of a change that was proposed and not made" in " ".join(capsys.readouterr().out.split())
    assert keys("discard", "--all") == 0
    assert list(Path("fleet/keys/next").iterdir()) == []


def test_a_wrong_key_and_a_proposal_of_another_fleet(place: Path, capsys: Said) -> None:
    change = propose("timestamp")
    before = change.read_bytes()
    assert keys("create", "m2/other.pem") == 0
    capsys.readouterr()
    assert keys("sign", str(change), "--key", "m2/other.pem") == 2
    one_line(capsys, "not one of those that are to sign this")
    assert change.read_bytes() == before
    assert run(["fleet", "init", "other", "--public-url", "https://other.example:8443"]) == 0
    assert run(["fleet", "keys", "rotate", "timestamp", "--propose", "other.json", "--folder", "other"]) == 0
    capsys.readouterr()
    assert keys("sign", "other.json", "--key", "m1/root.pem") == 2
    one_line(capsys, "not one of those that are to sign this")
    assert keys("apply", "other.json") == 1
    one_line(capsys, "fleet 'other'")


def _of(document: str, change: Callable[[Change], object]) -> Callable[[Change], object]:
    def edit(proposal: Change) -> None:
        metadata = json.loads(proposal[document])
        change(metadata["signed"])
        proposal[document] = json.dumps(metadata)

    return edit


def _name_a_stranger(signed: Change) -> None:
    signed["roles"]["root"]["keyids"].append(STRANGER.keyid)


def _spoil_keys(signed: Change) -> None:
    for key in signed["keys"].values():
        key["keyval"]["public"] = "zz"


EDITS: dict[str, tuple[Callable[[Change], object], str]] = {
    "a version that does not follow": (_of("root", lambda s: s.update(version=9)), "root: expected version 2, found 9"),
    "a version that is none": (_of("root", lambda s: s.update(version=-1)), "expected TUF metadata of root: "),
    "no signature is to do": (_of("root", lambda s: s["roles"]["root"].update(threshold=0)), "expected TUF metadata"),
    "more than there are": (_of("root", lambda s: s["roles"]["root"].update(threshold=7)), "7 signatures of 3 keys"),
    "a key without its half": (_of("root", _name_a_stranger), f"root: key {STRANGER.keyid[:12]}… comes without"),
    "keys that are none": (_of("root", _spoil_keys), "comes without its public half, or is none"),
    "no roles": (_of("root", lambda s: s.update(roles={})), "expected TUF metadata of root"),
    "another key of the server": (lambda p: p["online_keys"].update(timestamp="0" * 64), "timestamp: root names"),
    "a path for a key": (lambda p: p["online_keys"].update(timestamp="../snapshot"), "expected a proposal"),
    "a role that is none": (lambda p: p["online_keys"].update(root="0" * 64), "expected a proposal"),
    "another director": (lambda p: p["online_keys"].update(director="0" * 64), "director: the signed document names"),
    "no director": (lambda p: p["online_keys"].pop("director"), "director: the signed document names"),
    "another document": (lambda p: p["documents"].update({"director.json": "{}"}), "not what the proposal brings"),
    "a further document": (lambda p: p["documents"].update({"../../evil": "{}"}), "which is not signed"),
    "nothing": (lambda p: p.update(root=None, targets=None), "it changes neither root nor targets"),
    "no targets": (lambda p: p.update(targets=None), "which is not signed|not what the proposal brings"),
    "a later format": (lambda p: p.update(v=2), "expected a proposal"),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_proposal_that_was_edited_is_neither_signed_nor_applied(place: Path, name: str, capsys: Said) -> None:
    change, (edit, expected) = propose("timestamp", "director"), EDITS[name]
    proposal = json.loads(change.read_bytes())
    edit(proposal)
    edited = json.dumps(proposal).encode()
    change.write_bytes(edited)
    capsys.readouterr()
    before = everything()
    for arguments in (("sign", "--key", "m1/root.pem"), ("inspect",), ("apply",)):
        assert keys(arguments[0], str(change), *arguments[1:]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == 1, err
        assert any(part in err for part in expected.split("|")), err
    assert change.read_bytes() == edited
    assert everything() == before


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9])
def test_a_proposal_with_another_byte_is_not_applied(place: Path, at: float, capsys: Said) -> None:
    change = propose("timestamp")
    for machine in ("m1", "m2"):
        assert keys("sign", str(change), "--key", f"{machine}/root.pem") == 0
    data = bytearray(change.read_bytes())
    data[int(len(data) * at)] ^= 1
    change.write_bytes(data)
    capsys.readouterr()
    before = everything()
    assert keys("apply", str(change)) in {1, 2}
    one_line(capsys, "error: ")
    assert everything() == before


def test_what_is_discarded_is_said_by_its_id_or_path_and_nothing_in_use_is(place: Path, capsys: Said) -> None:
    propose("timestamp", "snapshot")
    used = load_key(Path("fleet/keys/director.pem")).public_key.keyid
    capsys.readouterr()
    for wrong in (["discard"], ["discard", used], ["discard", "keys/director.pem"], ["discard", ""]):
        assert keys(*wrong) == 2
        one_line(capsys, "edgemm fleet keys list")
    first, second = sorted(Path("fleet/keys/next").iterdir())
    assert keys("discard", first.stem.partition("-")[2][:12]) == 0
    assert keys("discard", str(second.relative_to("fleet"))) == 0
    assert list(Path("fleet/keys/next").iterdir()) == []
    assert keys("rotate", "timestamp") == 1
    assert not list(Path("fleet/keys/next").iterdir()), "what the keys at hand cannot sign makes no key"
