import numpy as np

from edgemm.bundle.manifest import DType, Signature, TensorSpec
from edgemm_converter.children import samples
from edgemm_converter.children.protocol import SetKind

OUT = (TensorSpec(name="y", dtype=DType.FLOAT32, shape=(-1, 2)),)


def signature(*inputs: TensorSpec) -> Signature:
    return Signature(inputs=inputs, outputs=OUT)


def spec(name: str, dtype: DType, *shape: int) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


def test_random_inputs_come_from_three_seeds_at_batch_1_and_4() -> None:
    sets = samples.input_sets(signature(spec("x", DType.FLOAT32, -1, 3)), calibration=None, evaluation=None)
    random = [s for s in sets if s.kind is SetKind.RANDOM]
    assert [s.arrays["x"].shape for s in random] == [(12, 1, 3), (3, 4, 3)]
    assert [s.samples for s in random] == [12, 12]
    assert random[0].seeds == (1, 2, 3)
    assert len(np.unique(random[1].arrays["x"])) == 3 * 4 * 3


def test_the_same_signature_gives_the_same_inputs() -> None:
    model = signature(spec("x", DType.FLOAT32, -1, 3), spec("w", DType.INT32, -1, -1))
    one, two = (samples.input_sets(model, calibration=None, evaluation=None) for _ in range(2))
    for left, right in zip(one, two, strict=True):
        assert all((left.arrays[name] == right.arrays[name]).all() for name in left.arrays)


def test_two_inputs_of_one_shape_get_different_values() -> None:
    model = signature(spec("a", DType.FLOAT32, -1, 3), spec("b", DType.FLOAT32, -1, 3))
    for given in samples.input_sets(model, calibration=None, evaluation=None):
        assert given.kind is SetKind.EDGE or (given.arrays["a"] != given.arrays["b"]).all()


def test_random_integers_are_small_enough_for_an_embedding_and_bytes_cover_pixels() -> None:
    model = signature(spec("words", DType.INT32, -1, 6), spec("pixels", DType.UINT8, -1, 8, 8, 1))
    given = samples.input_sets(model, calibration=None, evaluation=None)[1].arrays
    assert 0 <= given["words"].min() < given["words"].max() <= 3
    assert given["pixels"].max() > 200


def test_calibration_data_set_the_range_of_noise_and_golden_samples_are_spread_over_them() -> None:
    data = {"x": np.linspace(10, 20, 300).astype(np.float32).reshape(100, 3)}
    sets = samples.input_sets(signature(spec("x", DType.FLOAT32, -1, 3)), calibration=data, evaluation=None)
    by_kind = {s.kind: s for s in sets}
    assert by_kind[SetKind.RANDOM].arrays["x"].min() >= 10
    assert by_kind[SetKind.CALIBRATION].arrays["x"].shape == (100, 1, 3)
    chosen = samples.golden_runs(100)
    assert (len(set(chosen)), chosen[0], chosen[-1]) == (16, 0, 99)


def test_random_rows_of_a_table_have_values_of_their_columns() -> None:
    data = {"x": np.stack([np.arange(50) % 3, np.arange(50) * 1000.0], axis=1).astype(np.float32)}
    table = signature(spec("x", DType.FLOAT32, -1, 2))
    for given in samples.input_sets(table, calibration=data, evaluation=None, by_column=True)[:2]:
        for column in range(2):
            assert set(given.arrays["x"][..., column].ravel()) <= set(data["x"][:, column])


def test_a_fixed_batch_is_left_alone() -> None:
    sets = samples.input_sets(signature(spec("x", DType.FLOAT32, 2, 3)), calibration=None, evaluation=None)
    assert {s.arrays["x"].shape[1:] for s in sets} == {(2, 3)}


def test_samples_of_a_fixed_batch_are_put_together_and_the_last_run_is_filled_up() -> None:
    model = signature(spec("x", DType.FLOAT32, 8, 2))
    for count, runs in ((20, 3), (3, 1), (8, 1)):
        x = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
        sets = samples.input_sets(model, calibration={"x": x}, evaluation=None)
        assert {s.arrays["x"].shape[1:] for s in sets} == {(8, 2)}
        (given,) = (s for s in sets if s.kind is SetKind.CALIBRATION)
        assert (given.arrays["x"].shape, given.runs, given.samples, given.rows) == ((runs, 8, 2), runs, count, 8)
        assert (given.arrays["x"].reshape(-1, 2) == np.resize(x, (runs * 8, 2))).all()


def test_an_input_of_no_width_has_no_range() -> None:
    model = signature(spec("x", DType.FLOAT32, -1, 3), spec("more", DType.FLOAT32, -1, 0))
    data = {"x": np.ones((5, 3), np.float32), "more": np.ones((5, 0), np.float32)}
    for given in samples.input_sets(model, calibration=data, evaluation=None):
        assert given.arrays["more"].shape[-1] == 0


def test_one_step_off_is_the_next_number() -> None:
    given = {"x": np.array([1.0, -2.0, 0.0], np.float32), "w": np.array([1, 2, 3])}
    moved = samples.one_step_off(given)
    assert (moved["w"] == given["w"]).all()
    assert (moved["x"] != given["x"]).all()
    assert np.abs(moved["x"] - given["x"]).max() <= 2.4e-7


def test_no_rounding_moves_a_mask() -> None:
    inputs = {"mask": np.array([[0, 1, 1]], np.float32), "x": np.array([[0, 1, 0.5]], np.float32)}
    moved = samples.one_step_off(inputs)
    assert (moved["mask"] == inputs["mask"]).all()
    assert (moved["x"] != inputs["x"]).all()
