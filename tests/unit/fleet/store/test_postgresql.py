"""What PostgreSQL alone can do to a store: go away, be full, slow, read-only, or another manager's."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from securesystemslib.signer import CryptoSigner
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from edgemm.errors import BadRequestError, EnvironmentFailure, InputError, NewerFormatError
from edgemm_fleet.store import Migration, Store, audit, devices, schema
from edgemm_fleet.store.dialects.database_address import PostgresAddress
from edgemm_fleet.store.dialects.time_limit import soon
from edgemm_fleet.store.membership import prepared
from edgemm_fleet.store.revisions import NEWEST, REVISIONS
from edgemm_fleet.worker import ToldFailure
from simulators.broker import enrol
from simulators.postgresql import Cluster, execute
from simulators.waiting import eventually
from tests.conftest import installed_postgresql
from tests.disks import small_disk

pytestmark = pytest.mark.service
HOLD = """
import sys
from edgemm_fleet.store import Store
from edgemm_fleet.store.dialects.database_address import PostgresAddress

store = Store.open(PostgresAddress(sys.argv[1]), alone=True)
with store.write() as tx:
    print("holds", flush=True)
    sys.stdin.read(1)
print("let go", flush=True)
sys.stdin.read()
"""
KILLED = """
import os, signal, sys
from alembic import op
from alembic.runtime.migration import RevisionStep
from sqlalchemy import Column, Text
from edgemm_fleet.store import Store
from edgemm_fleet.store.dialects.database_address import PostgresAddress

def upgrade(**_):
    op.add_column("members", Column("half", Text))
    op.execute("UPDATE members SET half = 'x'")
    os.kill(os.getpid(), signal.SIGKILL)

made = RevisionStep.__init__
def init(self, *arguments):
    made(self, *arguments)
    self.migration_fn = upgrade

RevisionStep.__init__ = init
Store.open(PostgresAddress(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    installed_postgresql()
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def address(cluster: Cluster, request: pytest.FixtureRequest) -> PostgresAddress:
    return cluster.create(f"x{abs(hash(request.node.nodeid)):x}")


def quick(address: PostgresAddress, settings: str) -> PostgresAddress:
    """Return an address with settings of the session, which are stronger than ours."""
    words = "%20".join(f"-c%20{one.replace('=', '%3D')}" for one in settings.split())
    return PostgresAddress.parse(f"{address}?options={words}")


def note(store: Store, action: str) -> None:
    with store.write() as tx:
        audit.add(tx, at=1.0, actor="person:ann", action=action, subject="x")


def actions(store: Store) -> list[str]:
    with store.read() as tx:
        return [record.action for record in audit.page(tx).items]


@contextmanager
def holder(address: PostgresAddress) -> Iterator[subprocess.Popen[str]]:
    """Run a manager that stays in the middle of a transaction until it is told to go on."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLD, str(address)], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        try:
            yield process
        finally:
            process.kill()


def test_the_tables_are_those_of_the_schema(address: PostgresAddress) -> None:
    store = Store.open(address)
    with store.read() as tx:
        context = MigrationContext.configure(tx, opts={"compare_server_default": True})
        found = [one for one in compare_metadata(context, schema.metadata) if "rowid" not in str(one)]
        assert found == []
        partial = tx.execute(text("SELECT indexname FROM pg_indexes WHERE indexdef LIKE '%WHERE%'")).scalars()
        assert {"actions_open", "desired_unsent", "desired_again", "members_due", "devices_doubted"} <= set(partial)
    store.close()


def test_acknowledged_means_synced_and_readers_write_nothing(address: PostgresAddress) -> None:
    store = Store.open(address)
    with store.write() as tx:
        assert tx.execute(text("SHOW synchronous_commit")).scalar() == "on"
    with pytest.raises(ToldFailure, match="it is read-only"), store.read() as tx:
        audit.add(tx, at=1.0, actor="a", action="b", subject="c")
    store.close()


def test_a_second_manager_is_refused_until_the_first_is_gone(address: PostgresAddress) -> None:
    refused = r"postgresql://.*: another fleet manager uses it; stop that one first"
    with holder(address) as first:
        with pytest.raises(EnvironmentFailure, match=refused):
            Store.open(address, alone=True)
        first.kill()
    opened: list[Store] = []

    def opens() -> bool:
        try:
            opened.append(Store.open(address, alone=True))
        except EnvironmentFailure:
            return False
        return True

    eventually(opens, "the server noticed that the first one is gone")
    note(opened[0], "mine")
    opened[0].close()


def test_a_command_beside_the_manager_waits_for_its_turn(address: PostgresAddress) -> None:
    with holder(address) as manager:
        beside = Store.join(address)
        writer = threading.Thread(target=note, args=(beside, "after"))
        writer.start()
        assert actions(beside) == []
        writer.join(0.5)
        assert writer.is_alive(), "the manager is writing"
        assert manager.stdin is not None
        manager.stdin.write("x")
        manager.stdin.flush()
        writer.join(30)
        assert actions(beside) == ["after"]
    beside.close()


def test_one_that_hangs_in_a_transaction_is_put_out(address: PostgresAddress) -> None:
    with holder(quick(address, "idle_in_transaction_session_timeout=500ms")) as manager:
        manager.send_signal(signal.SIGSTOP)
        beside = Store.join(address)
        note(beside, "after")
        assert actions(beside) == ["after"]
    beside.close()


def test_one_that_writes_for_too_long_is_named_as_the_cause(address: PostgresAddress) -> None:
    with holder(address):
        beside = Store.join(quick(address, "lock_timeout=200ms"))
        cause = "another process has been writing for 10 s; nothing of this step was kept"
        with pytest.raises(ToldFailure, match=cause):
            note(beside, "never")
        assert actions(beside) == []
    beside.close()


def test_a_database_that_is_too_slow_is_told_as_such(address: PostgresAddress) -> None:
    store = Store.open(quick(address, "statement_timeout=300ms"))
    with pytest.raises(ToldFailure, match="it took longer than 60 s to answer"), store.read() as tx:
        tx.execute(text("SELECT pg_sleep(30)"))
    assert actions(store) == []
    store.close()


def test_gone_and_back_is_told_once_and_goes_on_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    installed_postgresql()
    with Cluster() as cluster:
        store = Store.open(cluster.create("fleet"), alone=True)
        note(store, "before")
        caplog.set_level(logging.WARNING)
        cluster.stop()
        for _ in range(5):
            with pytest.raises(ToldFailure, match=r"^fleet database postgresql://\S+: [^\n]*; nothing of this step"):
                note(store, "lost")
            with pytest.raises(ToldFailure, match="onnection"):
                actions(store)
        told = [record.getMessage() for record in caplog.records]
        assert [line.split(" error=")[0] for line in told] == ["database_fails kind=write", "database_fails kind=read"]
        cluster.start()
        note(store, "after")
        assert actions(store) == ["after", "before"]
        told = [record.getMessage().split(" database=")[0] for record in caplog.records[2:]]
        assert told == ["database_back kind=write", "database_back kind=read"]
        with pytest.raises(EnvironmentFailure, match="another fleet manager uses it"):
            Store.open(cluster.address("fleet"), alone=True)
        store.close()


def test_a_killed_backend_costs_one_transaction(cluster: Cluster, address: PostgresAddress) -> None:
    store = Store.open(address, alone=True)
    with pytest.raises(ToldFailure), store.write() as tx:
        audit.add(tx, at=1.0, actor="a", action="lost", subject="c")
        os.kill(int(tx.execute(text("SELECT pg_backend_pid()")).scalar_one()), signal.SIGKILL)
        audit.add(tx, at=1.0, actor="a", action="lost too", subject="c")

    def works() -> bool:
        try:
            note(store, "kept")
        except ToldFailure:
            return False
        return True

    eventually(works, "the server has recovered")
    assert actions(store) == ["kept"]
    store.close()


def test_devices_are_counted_anew_where_the_answer_to_a_commit_was_lost(
    address: PostgresAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    from psycopg import OperationalError as Lost

    store = Store.open(address, alone=True)

    def commit(connection: Any) -> None:
        connection.commit()
        raise Lost("server closed the connection unexpectedly")

    for name in ("cam-1", "cam-2"):
        with monkeypatch.context() as patched:
            patched.setattr(store._writers.dialect, "do_commit", commit)
            with pytest.raises(ToldFailure, match="server closed the connection"), store.write() as tx:
                enrol(tx, name, CryptoSigner.generate_ed25519(), labels={})
        note(store, "after")
        with store.read() as tx:
            assert store.census.devices == sum(devices.counts(tx).values())
    assert store.census.devices == 2
    store.close()


def test_another_manager_that_came_during_an_outage_keeps_the_first_one_out(address: PostgresAddress) -> None:
    store = Store.open(address, alone=True)
    with pytest.raises(ToldFailure), store.write() as tx:
        tx.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    other = Store.open(address, alone=True)
    note(other, "the other")
    with pytest.raises(EnvironmentFailure, match="another fleet manager uses it"):
        note(store, "the first")
    assert actions(other) == ["the other"]
    other.close()
    note(store, "the first")
    store.close()


def test_a_full_disk_loses_nothing_and_is_one_clear_line() -> None:
    installed_postgresql()
    with Cluster() as cluster, small_disk(cluster.folder / "small", size_bytes=24 * 2**20) as disk:
        try:
            _fill(cluster, disk / "space")
        finally:
            cluster.stop("immediate")  # before its disk is taken away


def _fill(cluster: Cluster, space: Path) -> None:
    owner = cluster.data.stat()
    space.mkdir()
    os.chown(space, owner.st_uid, owner.st_gid)
    space.parent.chmod(0o755)
    cluster.execute(f"CREATE TABLESPACE small LOCATION '{space}'")
    cluster.execute("CREATE DATABASE full_one TEMPLATE template0 TABLESPACE small")
    store = Store.open(cluster.address("full_one"))
    note(store, "kept")
    full = r"the disk of its server is full; nothing of this step was kept"
    with pytest.raises(ToldFailure, match=full), store.write() as tx:
        for number in range(20_000):
            detail = os.urandom(4000).hex()
            audit.add(tx, at=1.0, actor="a", action=f"lost-{number}", subject="x", detail=detail)
    assert actions(store) == ["kept"]
    store.close()


def test_a_database_that_is_read_only_can_still_be_read(cluster: Cluster, address: PostgresAddress) -> None:
    store = Store.open(address)
    note(store, "before")
    store.close()
    read_only = quick(address, "default_transaction_read_only=on")
    with pytest.raises(EnvironmentFailure, match="it is read-only"):
        Store.open(read_only)
    beside = Store.join(read_only)
    assert actions(beside) == ["before"]
    with pytest.raises(ToldFailure, match="it is read-only; nothing of this step was kept"):
        note(beside, "never")
    beside.close()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda url, port: url.replace(f":{port}", ":1"), "onnection refused"),
        (lambda url, _: url.rpartition("/")[0] + "/nothing", 'database "nothing" does not exist'),
        (lambda url, _: url.replace("edgemm@", "stranger@"), 'role "stranger" does not exist'),
        (lambda url, _: f"{url}?sslmode=require", "SSL"),
        (lambda url, _: f"{url}?sslmode=perhaps", "sslmode"),
        (lambda url, _: f"{url}?no_such_option=1", "no_such_option"),
    ],
)
def test_what_keeps_it_from_being_reached_is_one_clear_line(
    cluster: Cluster, address: PostgresAddress, change: object, told: str
) -> None:
    assert callable(change)
    wrong = PostgresAddress.parse(change(str(address), cluster.port))
    with pytest.raises(EnvironmentFailure, match=f"^fleet database [^\n]*{told}[^\n]*$"):
        Store.open(wrong)
    with pytest.raises(EnvironmentFailure, match=told):
        Store.join(wrong)


def test_a_password_comes_from_a_file(cluster: Cluster, address: PostgresAddress, tmp_path: Path) -> None:
    cluster.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
    rules = cluster.data / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"host all guarded 127.0.0.1/32 scram-sha-256\n{before}")
    cluster.execute("SELECT pg_reload_conf()")
    Store.open(address).close()
    guarded = PostgresAddress(str(address).replace("edgemm@", "guarded@"))
    with pytest.raises(EnvironmentFailure, match="no password supplied"):
        Store.join(guarded)
    file = tmp_path / "pass"
    file.write_text("*:*:*:guarded:wrong\n")
    file.chmod(0o600)
    with pytest.raises(EnvironmentFailure, match="password authentication failed"):
        Store.join(PostgresAddress.parse(f"{guarded}?passfile={file}"))
    file.write_text("*:*:*:guarded:right\n")
    with pytest.raises(EnvironmentFailure, match="its user has no right to do that"):
        Store.join(PostgresAddress.parse(f"{guarded}?passfile={file}"))
    rules.write_text(before)
    cluster.execute("SELECT pg_reload_conf()")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_has_no_place_for_all_letters_is_refused(cluster: Cluster, encoding: str) -> None:
    """A label and the detail of a failure are in any letters: what is not stored is no part of a decision."""
    name = encoding.lower()
    cluster.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'")
    told = f"^fleet database [^\n]*: its encoding is {encoding}, expected UTF8, [^\n]*createdb [^\n]*$"
    with pytest.raises(EnvironmentFailure, match=told):
        Store.open(cluster.address(name), alone=True)
    assert execute(cluster.address(name), "SELECT 1 FROM pg_tables WHERE schemaname = 'public'") == []


@pytest.mark.parametrize("where", ["address", "environment"])
def test_texts_have_all_letters_whatever_encoding_is_asked_for(
    address: PostgresAddress, monkeypatch: pytest.MonkeyPatch, *, where: str
) -> None:
    if where == "environment":
        monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    url = PostgresAddress.parse(f"{address}?client_encoding=latin1" if where == "address" else str(address))
    store = Store.open(url)
    note(store, "日本 é")
    assert actions(store) == ["日本 é"]
    store.close()


def test_what_no_index_takes_is_the_fault_of_what_was_to_be_stored(address: PostgresAddress) -> None:
    """Not an outage, of which the ingest would try the same batch for ever."""
    store, random = Store.open(address), os.urandom(8000).hex()
    with pytest.raises(OperationalError, match="index row"), store.write() as tx:
        tx.execute(text("INSERT INTO facts (subject, name, value) VALUES ('engine', :name, '1')"), {"name": random})
    note(store, "after")
    assert actions(store) == ["after"]
    store.close()


def test_a_filter_that_takes_too_long_is_given_up(address: PostgresAddress) -> None:
    store = Store.open(address)
    told = r"^filter: expected an answer within 0\.1 s, found none"
    with pytest.raises(BadRequestError, match=told), store.read() as tx, soon(tx, seconds=0.1):
        tx.execute(text("SELECT pg_sleep(60)"))
    limit = text("SELECT current_setting('statement_timeout')")
    with store.read() as tx:
        with soon(tx, seconds=5.0):
            assert tx.execute(limit).scalar() == "5s"
        assert tx.execute(limit).scalar() == "1min"
    store.close()


def test_later_and_foreign_databases_are_refused(cluster: Cluster, address: PostgresAddress) -> None:
    store = Store.open(address)
    with store.write() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '0099'"))
    store.close()
    with pytest.raises(NewerFormatError, match=f"fleet database schema 0099 is newer than {NEWEST}"):
        Store.open(address)
    foreign = cluster.create("recipes")
    execute(foreign, "CREATE TABLE recipes (name TEXT)")
    with pytest.raises(InputError, match="expected a database that edgemm wrote, found no table actions"):
        Store.open(foreign)


def test_a_killed_migration_leaves_what_was_there_and_the_next_start_migrates(address: PostgresAddress) -> None:
    store = Store.open(address)
    note(store, "kept")
    with store.write() as tx:
        tx.execute(text(f"UPDATE alembic_version SET version_num = '{REVISIONS[-2]}'"))
        tx.execute(text("DROP INDEX devices_duplicate, desired_refused"))
    store.close()
    done = subprocess.run([sys.executable, "-c", KILLED, str(address)], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    columns = execute(address, "SELECT column_name FROM information_schema.columns WHERE table_name = 'members'")
    assert ("half",) not in columns
    told: list[Migration] = []
    store = Store.open(address, migrated=told.append)
    assert told == [Migration(REVISIONS[-2], NEWEST, None)]
    assert actions(store) == ["kept"]
    store.close()


def test_columns_of_a_migration_become_those_of_the_schema(address: PostgresAddress) -> None:
    from sqlalchemy import Column, Integer, MetaData, String, Table, Text

    from edgemm_fleet.store.dialects.either_dialect import migrating

    engine = migrating(address)
    table = Table("t", MetaData(), Column("a", Text), Column("b", String), Column("c", Integer))
    with engine.begin() as connection:
        table.create(connection)
        found = connection.execute(
            text("SELECT column_name, data_type, collation_name FROM information_schema.columns WHERE table_name = 't'")
        )
        kinds = {name: (kind, order) for name, kind, order in found}
    engine.dispose()
    assert kinds == {"a": ("text", "C"), "b": ("character varying", "C"), "c": ("bigint", None)}


def test_a_transaction_that_reads_has_the_server_know_how_many_members_there_are(address: PostgresAddress) -> None:
    store = Store.open(address)
    query = "SELECT reltuples FROM pg_class WHERE relname = 'members'"
    with store.read() as tx:
        assert tx.exec_driver_sql(query).scalar() == -1
        prepared.estimate(tx)
    with store.read() as tx:
        assert tx.exec_driver_sql(query).scalar() == 0
    store.close()
