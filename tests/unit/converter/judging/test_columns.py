"""Columns of different units are judged each by its own range, and columns of one unit as one."""

import numpy as np
import pytest

from edgemm.bundle.manifest import Precision
from edgemm_converter.children.protocol import KnownUnits
from edgemm_converter.data.arrays import Array
from edgemm_converter.judging import column_units, columns

RUNS = 200


def values(*scales: float, offset: float = 0.0, seed: int = 0) -> Array:
    """Return an output [runs, 1, columns] whose columns have these deviations."""
    found: Array = np.random.default_rng(seed).normal(size=(RUNS, 1, len(scales))) * np.array(scales) + offset
    return found.astype(np.float32)


def as_int8(source: Array) -> Array:
    """Round a whole output to 256 steps of one scale, as an int8 tensor does."""
    step = np.ptp(source) / 255
    found: Array = np.round((source - source.min()) / step) * step + source.min()
    return found.astype(np.float32)


def fault(source: Array, found: Array, precision: Precision = Precision.INT8, known: KnownUnits | None = None) -> str:
    judged = column_units.spans(source, known)
    return columns.off(precision, source, columns.figures(source, found, judged), noise=None) or ""


@pytest.mark.parametrize(
    "scales",
    [
        pytest.param((0.3, 400.0), id="a load beside watts"),
        pytest.param((300.0, 300.0, 300.0, 300.0, 0.2, 0.2), id="boxes beside scores"),
        pytest.param((1.0, 5.0, 25.0, 125.0, 625.0, 3000.0), id="six tasks"),
        pytest.param(tuple(np.logspace(-3, 3, 40)), id="forty units without a gap"),
        pytest.param((400.0,) * 96 + (0.3,) * 4, id="four loads among a hundred"),
    ],
)
def test_a_small_column_that_int8_makes_constant_fails_and_is_named(scales: tuple[float, ...]) -> None:
    source = values(*scales)
    assert "column" in fault(source, as_int8(source))
    assert fault(source, source + np.float32(1e-7) * source) == ""


def test_the_message_has_the_figures_of_the_column() -> None:
    source = values(400.0, 0.5)
    found = source.copy()
    found[..., 1] = 0.25
    deviation = source[..., 1].std()
    assert fault(source, found).startswith(f"column 1: the mean error is {np.abs(found - source)[..., 1].mean():.3g}")
    assert f"expected at most {deviation / 4:.3g} and {0.7 * deviation:.3g} (its own deviation is" in fault(
        source, found
    )


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(values(*(1.0,) * 640, offset=-20.0), id="an autoencoder"),
        pytest.param(values(2.0), id="a single regression"),
        pytest.param(values(1.0, 10.0, 3.0), id="units of about one size"),
        pytest.param(np.maximum(values(*(1.0,) * 64) - np.linspace(0, 2.7, 64), 0), id="features behind a ReLU"),
        pytest.param(
            np.random.default_rng(1).normal(size=(8, 1, 16, 16, 21)).astype(np.float32), id="a map of classes"
        ),
        pytest.param(np.random.default_rng(1).normal(size=(RUNS, 1)).astype(np.float32), id="a number a sample"),
    ],
)
def test_int8_of_one_unit_is_kept(source: Array) -> None:
    assert fault(source, as_int8(source)) == ""


def test_classes_share_a_range_however_rare() -> None:
    rng = np.random.default_rng(7)
    logits = 4 * rng.normal(size=(RUNS, 1, 1000)) - np.linspace(0, 12, 1000)
    rows = (np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)).astype(np.float32)
    assert column_units.spans(rows) == ()
    rare = np.full((RUNS, 1, 3), 1e-4, np.float32) * rng.random((RUNS, 1, 3), np.float32)
    rare[..., 0] = rng.random((RUNS, 1))
    assert column_units.spans(rare, KnownUnits(axis=None)) == ()
    assert fault(rare, as_int8(rare)) != ""  # where nothing tells that they are of one kind


def test_one_of_many_columns_that_8_bits_would_lose_is_judged_by_its_own() -> None:
    source = values(*np.geomspace(1, 1 / 200, 64))
    assert column_units.spans(source) == ()
    source[..., -1] *= 200 / 400  # less than a step of 256 of the largest, and still no gap to the next
    assert len(column_units.spans(source)) == 64


def test_known_spans_are_judged_as_one() -> None:
    rng = np.random.default_rng(7)
    source = np.concatenate([values(300.0, 300.0), rng.random((RUNS, 1, 2)), values(1e-4) + 0.5], axis=-1)
    known = KnownUnits(axis=1, spans=((2, 5),))
    assert [(s.start, s.stop) for s in column_units.spans(source, known)] == [(0, 1), (1, 2), (2, 5)]
    found = source.copy()
    found[..., 4] = 0.5
    assert fault(source, found, known=known) == ""
    found[..., 2:] = 0.5
    assert fault(source, found, known=known).startswith("columns 2 to 4: ")


def test_channels_that_come_first_are_found_by_how_they_differ() -> None:
    rng = np.random.default_rng(7)
    source = rng.normal(size=(40, 1, 7, 100)).astype(np.float32) * np.array([300.0] * 4 + [0.1] * 3)[:, None]
    assert {span.axis for span in column_units.spans(source)} == {1}
    assert fault(source, as_int8(source)).startswith("channel ")
    series = rng.normal(size=(40, 1, 24, 3)).astype(np.float32) * np.array([5.0, 500.0, 0.2])
    assert fault(series, as_int8(series)).startswith("column 2: ")


def test_rare_peaks_do_not_hide_a_constant() -> None:
    rng = np.random.default_rng(7)
    score = (rng.random((RUNS, 1, 1)) < 0.03).astype(np.float32)
    source = np.concatenate([values(300.0, 300.0), score], axis=-1)
    found = source.copy()
    found[..., 2] = 0
    assert np.abs(found - source)[..., 2].mean() < 0.25 * source[..., 2].std()
    assert fault(source, found).startswith("column 2: ")


@pytest.mark.parametrize("constant", [0.0, 5.0, 1e6])
def test_a_constant_column_neither_fails_nor_divides_by_zero(constant: float) -> None:
    source = values(300.0, 1.0)
    source[..., 1] = constant
    found = source.copy()
    found[..., 1] += np.float32(1e-3 * constant)
    assert fault(source, found) == ""
    assert columns.figures(source, found, column_units.spans(source))[1].deviation == 0.0


def test_of_few_values_only_a_column_that_became_constant_is_told() -> None:
    source = values(300.0, 1.0)[:4]
    found = source.copy()
    found[..., 1] += np.array([0.3, -0.3, 0.3, -0.3], np.float32)[:, None]
    assert fault(source, found) == ""
    found[..., 1] = 3.0
    assert fault(source, found).startswith("column 1: ")


def test_what_rounding_alone_does_to_a_column_is_not_held_against_a_variant() -> None:
    source, found = values(300.0, 1e-3), values(300.0, 1e-3, seed=1)
    found[..., 0] = source[..., 0]
    judged = columns.figures(source, found, column_units.spans(source))
    assert columns.off(Precision.INT8, source, judged, noise=None)
    assert columns.off(Precision.INT8, source, judged, noise=np.array([[0.0, 1e-3]])) is None


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.INT8])
def test_a_column_that_varies_in_its_last_digits_varies(precision: Precision) -> None:
    source = values(1e4, 0.003).astype(np.float64)
    source[..., 1] += 52.37
    found = source.copy()
    found[..., 1] = 52.37
    assert fault(source, found, precision).startswith("column 1: ")
    assert fault(source, source.astype(np.float32), precision) == ""


def test_columns_that_a_file_speaks_of_and_an_output_has_not_are_not_believed() -> None:
    source = values(300.0, 1.0)
    assert len(column_units.spans(source, KnownUnits(axis=1, spans=((1, 3),)))) == 2
    assert len(column_units.spans(source, KnownUnits(axis=4, spans=((0, 1),)))) == 2


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.FLOAT16])
def test_a_wrong_float_column_beside_a_large_one_fails(precision: Precision) -> None:
    source = values(1e4, 1e-4)
    rounded = source * np.float32(1 + 3e-4)
    found = source.copy()
    found[..., 1] *= -1
    assert fault(source, found, precision).startswith("column 1: the max error is ")
    assert fault(source, rounded, precision) == ""


def test_a_float_column_that_is_cut_off_is_not_held_to_what_is_left_of_it() -> None:
    source = np.maximum(values(1.0, 1.0, 1.0) - np.array([0.0, 0.0, 2.9]), 0).astype(np.float32)
    found = source + np.where(source > 0, 1e-3, 0).astype(np.float32) * np.array([0, 0, 1], np.float32)
    assert fault(source, found, Precision.FLOAT32) == ""


def test_values_that_are_no_numbers_in_the_source_are_left_out() -> None:
    source = values(300.0, 1.0)
    source[0, 0, 1] = np.nan
    assert fault(source, source) == ""
    found = source.copy()
    found[..., 1] = 0
    assert fault(source, found).startswith("column 1: ")


def test_a_manifest_holds_the_worst_columns_in_order() -> None:
    source = values(*np.logspace(-3, 3, 40))
    kept = columns.kept(columns.figures(source, as_int8(source), column_units.spans(source)))
    assert [c.start for c in kept] == list(range(32))


def test_integers_have_no_columns() -> None:
    rng = np.random.default_rng(7)
    assert column_units.spans(rng.integers(0, 9, (20, 1, 4))) == ()


def whole_fault(source: Array, found: Array, *, step: float = 0.0) -> str:
    return columns.off_as_one(source, found, step=step, noise=None) or ""


def test_of_many_classes_a_scrambled_answer_is_off_though_its_mean_error_is_small() -> None:
    rng = np.random.default_rng(7)
    logits = 4 * rng.normal(size=(RUNS, 1, 1000))
    rows = (np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)).astype(np.float32)
    assert np.abs(rows - rows[..., ::-1]).mean() < 0.01
    for wrong in (rows[..., ::-1], rows[::-1], np.broadcast_to(rows.mean(axis=0), rows.shape)):
        assert "always the same" in whole_fault(rows, wrong, step=1 / 256)
    assert whole_fault(rows, as_int8(rows), step=1 / 256) == ""


def test_a_rare_alarm_that_is_never_given_is_off() -> None:
    alarm = (np.random.default_rng(3).random((RUNS, 1, 1)) < 0.04).astype(np.int64)
    assert "always the same" in whole_fault(alarm, np.zeros_like(alarm))
    late = alarm.copy()
    late[np.argwhere(alarm)[0][0]] = 0
    assert whole_fault(alarm, late) == whole_fault(alarm.astype(bool), late.astype(bool)) == ""


def test_what_hardly_varies_may_be_off_by_two_quantization_steps() -> None:
    rows = 0.1 + 0.002 * np.random.default_rng(3).random((RUNS, 1, 10))
    assert whole_fault(rows, np.full_like(rows, 0.1), step=1 / 256) == ""
    assert whole_fault(rows, np.full_like(rows, 0.2), step=1 / 256) != ""


def test_columns_of_one_unit_must_follow_their_source_and_not_only_keep_apart() -> None:
    boxes = values(4.0, 4.0, 4.0, 4.0) + np.array([50, 200, 350, 500], np.float32)
    source = np.concatenate([boxes, values(0.2)], axis=-1)
    known = KnownUnits(axis=1, spans=((0, 4),), of_one=(False,))
    found = source.copy()
    found[..., :4] = boxes.mean(axis=0)
    assert fault(source, found, known=known).startswith("columns 0 to 3: the root mean square")
    found[..., :4] = np.round(boxes / 2) * 2
    assert fault(source, found, known=known) == ""


def test_units_may_lie_between_the_channels_and_the_last_axis() -> None:
    source = np.random.default_rng(7).normal(size=(RUNS, 1, 5, 2, 6)).astype(np.float32)
    source *= np.array([1, 1000], np.float32).reshape(2, 1)
    assert {(s.axis, s.start) for s in column_units.spans(source)} == {(2, 0), (2, 1)}
    assert "channel 0" in fault(source, as_int8(source))


def test_rounding_around_one_is_known_of_each_span() -> None:
    known = KnownUnits(axis=1, spans=((0, 1), (2, 4)), of_one=(False, True))
    assert (column_units.rounding(known, (1, 5)) > 0).tolist() == [[False, False, True, True, False]]
    assert (column_units.rounding(KnownUnits(axis=None, of_one=(True,)), (1, 2)) > 0).all()
    assert not column_units.rounding(None, (1, 2)).any()
