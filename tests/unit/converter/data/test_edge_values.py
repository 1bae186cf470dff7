import numpy as np
import pytest

from edgemm_converter.data import edge_values
from edgemm_converter.data.edge_values import EdgeTensor

FLOATS = EdgeTensor("x", "float32", (1, 6))


def everything(tensor: EdgeTensor) -> np.ndarray:
    return np.concatenate([value.values.ravel() for value in edge_values.of_tensor(tensor).values()])


@pytest.mark.parametrize("size", [1e-6, 10, 100, 1000])
def test_floats_are_of_every_size_in_both_signs_together_mixed_and_alone(size: float) -> None:
    of_size = [v.values for v in edge_values.of_tensor(FLOATS).values() if v.family == f"{size:g}"]
    exact = np.float32(size)
    assert any((values == exact).all() for values in of_size)
    assert any((values == -exact).all() for values in of_size)
    assert any(set(values.ravel()) == {exact, -exact} for values in of_size)
    assert any((values == exact).sum() == 1 and not values.any(where=values != exact) for values in of_size)


def test_floats_have_zeros_halves_denormals_padding_and_masks() -> None:
    found = edge_values.of_tensor(FLOATS)
    assert next(iter(found)) == "all zeros"
    assert not found["all zeros"].values.any()
    assert (np.abs(found["halves"].values % 1) == 0.5).all()
    denormals = np.abs(found["denormals"].values)
    assert (denormals > 0).all()
    assert (denormals < np.finfo(np.float32).tiny).all()
    assert not found["padding: zeros in the second half"].values[:, 3:].any()
    assert (found["mask: -1 in the second half"].values[:, 3:] == -1).all()


def test_sequences_are_padded_in_whole_steps() -> None:
    rows = EdgeTensor("x", "float32", (1, 6, 4))
    padded = edge_values.of_tensor(rows)["padding: zeros in the second half"].values
    assert padded[0, :3].all()
    assert not padded[0, 3:].any()


def test_each_feature_of_few_is_alone_once() -> None:
    alone = [v.values for v in edge_values.of_tensor(FLOATS).values() if np.count_nonzero(v.values) == 1]
    assert {int(np.flatnonzero(values)[0]) for values in alone} == set(range(6))


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_integers_have_extremes_and_negatives(dtype: str) -> None:
    info, values = np.iinfo(dtype), everything(EdgeTensor("x", dtype, (1, 5)))
    assert values.dtype == dtype
    assert {int(info.min), int(info.max), 0, 1, 100} <= set(values.tolist())
    if info.min < 0:
        assert {-1, -100} <= set(values.tolist())


def test_the_least_integer_never_stands_beside_minus_one() -> None:
    for value in edge_values.of_tensor(EdgeTensor("x", "int32", (1, 50))).values():
        assert not {-1, np.iinfo(np.int32).min} <= set(value.values.ravel().tolist())


def test_a_domain_bounds_class_indices() -> None:
    values = everything(EdgeTensor("x", "int32", (1, 30), domain=(0, 19)))
    assert (values.min(), values.max()) == (0, 19)


def test_truths_are_all_none_one_and_mixed() -> None:
    sums = {int(v.values.sum()) for v in edge_values.of_tensor(EdgeTensor("x", "bool", (1, 8))).values()}
    assert {0, 1, 8} <= sums


def test_real_data_set_the_scale_of_each_column() -> None:
    data = np.array([[100, 0.1], [300, 0.3], [200, 0.0]], np.float32)
    found = edge_values.of_tensor(EdgeTensor("x", "float32", (1, 2), data=data))
    np.testing.assert_allclose(found["all at 1000 times the data's scale"].values, [[100_000, 100]], rtol=1e-6)
    np.testing.assert_allclose(found["all at the largest of the data"].values, [[300, 0.3]])
    np.testing.assert_allclose(found["all at the least of the data"].values, [[100, 0]])
    np.testing.assert_allclose(found["column 1 at the largest of the data"].values, [[200, 0.3]])


def test_a_dtype_that_cannot_hold_a_value_does_without_it() -> None:
    data = np.full((2, 3), 10_000, np.float16)
    assert np.isfinite(everything(EdgeTensor("x", "float16", (1, 3), data=data))).all()


@pytest.mark.parametrize("shape", [(), (0,), (1, 0, 3), (1,), (2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", ["float32", "int32", "uint8", "bool"])
def test_every_shape_has_edge_values_of_its_own_shape_and_dtype(shape: tuple[int, ...], dtype: str) -> None:
    found = edge_values.of_tensor(EdgeTensor("x", dtype, shape))
    assert found
    assert all(v.values.shape == shape and v.values.dtype == dtype for v in found.values())
    assert list(found) == [v.name for v in found.values()]


def test_they_are_the_same_at_every_call_and_none_twice() -> None:
    first, second = edge_values.of_tensor(FLOATS), edge_values.of_tensor(FLOATS)
    assert [v.values.tobytes() for v in first.values()] == [v.values.tobytes() for v in second.values()]
    assert len({v.values.tobytes() for v in first.values()}) == len(first)
