"""What was once written must be read for ever, and is still written the same way."""

import pytest
from tuf.api.metadata import Metadata, Targets

from edgemm import canonical
from edgemm.bundle import open_bundle
from tests.golden import trust
from tests.golden.vector import FOLDER, Vector
from tests.golden.vectors import VECTORS

pytestmark = [pytest.mark.core, pytest.mark.runtime, pytest.mark.fleet]

IDENTITY = "6c012af482dfdcabe57108dec5e24ff849040bea088dbb4a1450a265701c5316"
EACH = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)


@EACH
def test_it_is_read_as_what_it_meant(vector: Vector) -> None:
    assert vector.read(vector.path.read_bytes()) == vector.value


@pytest.mark.parametrize("vector", [v for v in VECTORS if v.write is not None], ids=lambda vector: vector.name)
def test_todays_writer_writes_the_same_bytes(vector: Vector) -> None:
    assert vector.write is not None
    assert vector.write(vector.value) == vector.path.read_bytes()


def test_every_file_has_its_meaning() -> None:
    found = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()}
    described = {vector.name for vector in VECTORS}
    kinds = {".json", ".msgpack", ".txt", ".edgemm", ".sql", ".log"}
    assert {name for name in found if name[name.rfind(".") :] in kinds} == described


def test_the_identity_of_a_bundle_never_changes() -> None:
    with open_bundle(FOLDER / "bundle" / "digits-1.0.0.edgemm") as bundle:
        assert bundle.digest == IDENTITY
    assert canonical.sha256((FOLDER / "bundle" / "manifest.json").read_bytes()) == IDENTITY


def test_every_role_of_the_tuf_documents_is_signed_by_whom_it_must_be() -> None:
    read = {role: Metadata.from_bytes((FOLDER / "tuf" / f"{role}.json").read_bytes()) for role in trust.ROLES}
    for role in ("root", "targets", "snapshot", "timestamp"):
        signed = read[role]
        read["root"].signed.verify_delegate(role, signed.signed_bytes, signed.signatures)
    model = read["model-digits"]
    read["targets"].signed.verify_delegate("model-digits", model.signed_bytes, model.signatures)


def test_the_model_role_names_the_golden_bundle_and_its_minimum_version() -> None:
    role: Metadata[Targets] = Metadata.from_bytes((FOLDER / "tuf" / "model-digits.json").read_bytes())
    target = role.signed.targets["models/digits/1.0.0.json"]
    assert target.hashes == {"sha256": IDENTITY}
    assert target.custom == {"minimum_version": "1.0.0"}
