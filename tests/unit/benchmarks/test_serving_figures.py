"""What the serving benchmark makes of what it measured: no server and no load here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.serving import memory, protocols, report, wrk
from benchmarks.serving.figures import Goal, Local, Round, Row, goals, limit_per_s, limit_us, row
from benchmarks.serving.installs import REQUIREMENTS, stamp
from benchmarks.serving.memory import MIB, Memory
from benchmarks.serving.subjects import CLASSIFIER, SUBJECTS, Subject
from benchmarks.serving.wrk import Load

OUTPUT = """Running 1s test @ http://127.0.0.1:41229/v2/models/ic/infer
  1 threads and 1 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   127.07us   80.26us   3.18ms   99.06%
    Req/Sec     8.06k     1.10k   10.11k    70.00%
  801 requests in 1.00s, 0.90MB read
  Non-2xx or 3xx responses: 3
Requests/sec:    801.00

wrk-result {"requests":801,"duration_us":1000000,"p50_us":118.0,"p99_us":302.5,"failed":3}
"""
BINARY, JSON = ("edgemm", "v2 binary, int8"), ("edgemm", "v2 JSON")


def a_load(*, p50_us: float = 100, per_s: int = 1000, failed: int = 0) -> Load:
    return Load(requests=per_s, duration_us=1_000_000, p50_us=p50_us, p99_us=2 * p50_us, failed=failed)


def a_row(key: tuple[str, str], *, p50_us: float, per_s_8: float = 1000) -> Row:
    memory_held = Memory(30 * MIB, 50 * MIB)
    return row(*key, [Round({1: a_load(p50_us=p50_us), 8: a_load(per_s=int(per_s_8))}, 0.4, memory_held)])


def test_the_line_of_results_is_found_in_what_wrk_prints() -> None:
    load = wrk.parse(OUTPUT)
    assert (load.p50_us, load.p99_us, load.per_s, load.failed) == (118.0, 302.5, 801.0, 3)


def test_output_without_results_is_an_error_that_shows_it() -> None:
    with pytest.raises(ValueError, match="unable to connect"):
        wrk.parse("unable to connect to 127.0.0.1:1 Connection refused")


def test_the_script_sends_the_body_from_its_file_with_the_headers() -> None:
    request = protocols.V2_BINARY.ask(CLASSIFIER.samples()[0])
    script = wrk.script(request, body_file='/tmp/a "folder"/body.bin')
    assert r'io.open("/tmp/a \"folder\"/body.bin", "rb")' in script
    assert f'wrk.headers["{protocols.LENGTH}"] = "{len(request.body) - 3072}"' in script


def test_a_row_is_the_median_of_its_rounds_and_the_sum_of_their_failures() -> None:
    rounds = [
        Round({1: a_load(p50_us=p50), 8: a_load(per_s=per_s, failed=1)}, cold, Memory(pss * MIB, 2 * pss * MIB))
        for p50, per_s, cold, pss in [(100, 10, 0.5, 30), (900, 30, 0.3, 50), (120, 20, 0.4, 40)]
    ]
    found = row("edgemm", "v2 JSON", rounds)
    assert (found.p50_us, found.p99_us, found.per_s_8, found.cold_start_s) == (120, 240, 20, 0.4)
    assert (found.pss_mib, found.rss_mib, found.failed, found.requests) == (40, 80, 3, 3060)


def test_goals_are_ratios_to_mlserver_and_to_the_limit() -> None:
    rows = {
        BINARY: a_row(BINARY, p50_us=100, per_s_8=9000),
        JSON: a_row(JSON, p50_us=200),
        ("mlserver", "v2 JSON"): a_row(("mlserver", "v2 JSON"), p50_us=450, per_s_8=1000),
        ("limit", "v2 binary, int8"): a_row(("limit", "v2 binary, int8"), p50_us=30),
    }
    assert limit_us(rows, 50) == 80
    local = [Local("int8", bare_us=50, predict_us=57, over_us=7, start_s=0.3, pss_mib=40, rss_mib=50)]
    found = {goal.what.split(",")[0]: goal for goal in goals(rows, local, 50, CLASSIFIER.wanted, cores=2)}
    assert found["latency: MLServer ÷ edgemm binary"].found == 4.5
    assert found["throughput: edgemm binary ÷ MLServer"].found == 9
    assert found["JSON against JSON: MLServer ÷ edgemm"].ratio == pytest.approx(2.25 / 2.5)
    assert found["edgemm binary int8 ÷ limit"].reached
    assert not found["predict over bare in process"].reached


def test_without_peers_there_are_only_the_goals_that_need_none() -> None:
    assert {goal.wanted for goal in goals({BINARY: a_row(BINARY, p50_us=100)}, [], 50, CLASSIFIER.wanted, cores=2)} == {
        1,
        70,
        0.8,
    }


def test_a_goal_of_at_most_is_reached_below() -> None:
    assert Goal("s", 0.4, 0.8, at_least=False).ratio == 2
    assert not Goal("s", 0.9, 0.8, at_least=False).reached


def test_tables_and_json_say_the_same() -> None:
    rows = {BINARY: a_row(BINARY, p50_us=100)}
    text, document = (
        report.as_text(rows, [], 42.0, CLASSIFIER.wanted),
        json.loads(report.as_json(rows, [], 42.0, CLASSIFIER.wanted)),
    )
    assert "| edgemm | v2 binary, int8 | 100 | 200 | 1,000 |" in text
    assert document["rows"][0]["p50_us"] == 100
    assert document["limit_us"] is None


PAIRS = [protocols.V2_JSON, protocols.PEOPLE, protocols.BENTO_JSON, protocols.LIT_JSON]


@pytest.mark.parametrize("protocol", PAIRS, ids=lambda protocol: protocol.ask.__name__)
def test_a_request_in_json_holds_the_whole_image(protocol: protocols.Protocol) -> None:
    image = CLASSIFIER.samples()[1]
    body = json.loads(protocol.ask(image).body)
    values = body["inputs"][0]["data"] if protocol is protocols.V2_JSON else next(iter(body.values()))
    assert np.array_equal(np.array(values).ravel(), image.ravel())


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=list(SUBJECTS))
def test_float_values_come_back_as_the_codes_that_they_were(subject: Subject) -> None:
    codes = np.arange(-128, 128, dtype=np.int8)
    for tensor in (subject.input, subject.output):
        assert np.array_equal(tensor.codes(tensor.reals(codes)), codes)


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=list(SUBJECTS))
def test_samples_are_three_different_inputs_of_the_file(subject: Subject) -> None:
    samples = subject.samples()
    assert samples.shape == (3, *subject.input.shape)
    assert len({sample.tobytes() for sample in samples}) == 3


def test_the_worst_step_to_more_connections_is_told() -> None:
    loads = {1: a_load(per_s=1000), 2: a_load(per_s=1500), 8: a_load(per_s=1200)}
    rows = {BINARY: row(*BINARY, [Round(loads, 0.4, Memory(MIB, MIB))])}
    found = goals(rows, [], 50, CLASSIFIER.wanted, cores=2)
    [step] = [goal for goal in found if goal.what.startswith("more connections")]
    assert (step.found, step.reached) == (0.8, False)
    assert "| edgemm | v2 binary, int8 | 2 | 1,500 | 100 | 200 |" in report.as_text(rows, [], 50, CLASSIFIER.wanted)


def test_memory_is_read_from_what_the_kernel_prints() -> None:
    rollup = "55d0-7ffe ---p 00000000 00:00 0    [rollup]\nRss:     2048 kB\nPss:     1024 kB\nPss_Dirty:   8 kB\n"
    assert (memory.field(rollup, "Pss"), memory.field(rollup, "Rss")) == (MIB, 2 * MIB)
    assert memory.field("", "Pss") == 0


@pytest.mark.parametrize("path", sorted(REQUIREMENTS.glob("*.txt")), ids=lambda path: path.stem)
def test_every_version_that_a_peer_runs_with_is_pinned(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert all("==" in line for line in lines)
    if path.stem != "mlserver-sklearn":  # which runs scikit-learn's own models
        assert "ai-edge-litert==2.3.0" in lines, "every peer runs the model in edgemm's engine"


def test_an_environment_is_made_again_when_requirements_or_python_change() -> None:
    assert len({stamp(b"a==1", "3.11"), stamp(b"a==2", "3.11"), stamp(b"a==1", "3.12")}) == 3


def test_a_ratio_is_the_median_of_the_rounds_whatever_slowed_single_ones_down() -> None:
    def rows(*p50s_us: float) -> list[Round]:
        return [Round({1: a_load(p50_us=p50), 8: a_load()}, 0.4, Memory(MIB, MIB)) for p50 in p50s_us]

    found = goals(
        {
            BINARY: row(*BINARY, rows(100, 900, 100, 300)),
            ("mlserver", "v2 JSON"): row("", "", rows(400, 3600, 1600, 900)),
        },
        [],
        50,
        CLASSIFIER.wanted,
        cores=2,
    )
    assert next(goal.found for goal in found if goal.what.startswith("latency")) == 4.0


def test_the_limit_at_8_connections_is_what_both_take_of_the_cores() -> None:
    rows = {("limit", "v2 binary, int8"): a_row(("limit", "v2 binary, int8"), p50_us=20, per_s_8=20_000)}
    # 100 µs on one of 2 cores, and 50 µs of both: 100 µs of both in all.
    assert limit_per_s(rows, 100, cores=2) == pytest.approx(10_000)
    assert limit_per_s({}, 100, cores=2) is None
