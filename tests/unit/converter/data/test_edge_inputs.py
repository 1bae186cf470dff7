from edgemm_converter.data import edge_inputs
from edgemm_converter.data.edge_values import EdgeTensor

X, Y = EdgeTensor("x", "float32", (1, 6)), EdgeTensor("y", "float32", (1, 6))
IDS = EdgeTensor("ids", "int32", (1, 4))


def test_a_budget_keeps_the_most_telling() -> None:
    few, many = edge_inputs.of_inputs([X], limit=8), edge_inputs.of_inputs([X], limit=40)
    assert [given.name for given in few] == [given.name for given in many][:8]
    assert {"all zeros", "±1000", "one feature at 1000", "halves"} <= {given.name for given in few}


def test_inputs_are_at_an_edge_together_and_alone() -> None:
    found = {given.name: given.arrays for given in edge_inputs.of_inputs([X, Y], limit=100)}
    assert not found["all zeros"]["x"].any()
    assert not found["all zeros"]["y"].any()
    assert found["all zeros in 'y' alone"]["x"].all()
    assert not found["all zeros in 'y' alone"]["y"].any()


def test_values_that_are_mixed_differ_from_input_to_input() -> None:
    found = {given.name: given.arrays for given in edge_inputs.of_inputs([X, Y], limit=100)}
    assert (found["±1000"]["x"] != found["±1000"]["y"]).any()


def test_an_input_without_a_value_of_that_name_is_usual() -> None:
    found = {given.name: given.arrays for given in edge_inputs.of_inputs([X, IDS], limit=100)}
    assert 0 <= found["halves"]["ids"].min() <= found["halves"]["ids"].max() <= 3
    assert set(found["all zeros"]) == {"x", "ids"}


def test_names_are_unique() -> None:
    names = [given.name for given in edge_inputs.of_inputs([X, IDS], limit=1000)]
    assert len(names) == len(set(names))
