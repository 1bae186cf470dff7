import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemm.bundle.manifest import check_model_name
from edgemm.errors import InputError
from edgemm_converter.job import naming


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("digits.keras", "digits"),
        ("My Model (final).keras", "my-model-final"),
        ("pretrainedResnet.h5", "pretrainedresnet"),
        ("_private.hdf5", "private"),
        ("v1.2_saved", "v1.2_saved"),
        ("x" * 200 + ".keras", "x" * 63),
    ],
)
def test_a_model_is_named_by_its_file(file: str, name: str) -> None:
    assert naming.model_name(Path("/models") / file) == name


@pytest.mark.parametrize("file", ["模型.keras", "---.h5"])
def test_a_file_without_usable_letters_asks_for_a_name(file: str) -> None:
    with pytest.raises(InputError, match="--name"):
        naming.model_name(Path("/models") / file)


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=100))
def test_a_name_made_from_any_file_is_a_model_name(file: str) -> None:
    try:
        name = naming.model_name(Path("/models") / file)
    except InputError:
        return
    assert check_model_name(name) == name


def test_repeated_names_are_numbered_and_avoid_names_that_exist() -> None:
    assert naming.unique(["dense", "dense", "dense_1", "dense"]) == ("dense", "dense_2", "dense_1", "dense_3")


@given(st.lists(st.text(max_size=12), max_size=8))
def test_unique_names_are_unique_and_first_ones_stay(names: list[str]) -> None:
    found = naming.unique(names)
    assert len(set(found)) == len(names)
    assert all(found[names.index(name)] == name for name in names)


def test_plain_names_stay_themselves_in_graphs() -> None:
    assert naming.identifiers(["image", "Mask2", "a_b"], prefix="input") == ("image", "Mask2", "a_b")
    assert naming.identifiers(["a b", "a_b", "a-b"], prefix="input") == ("a_b_1", "a_b", "a_b_2")


def test_words_of_python_and_names_without_a_letter_get_a_prefix() -> None:
    names = ["class", "self", "kwargs", "1st", "模型", "größe in mm"]
    found = ("input_class", "input_self", "kwargs", "input_1st", "input", "gr__e_in_mm")
    assert naming.identifiers(names, prefix="input") == found


def test_names_are_served_as_they_are_up_to_a_length() -> None:
    assert naming.served(["größe in mm", "a/b", "", "a/b"], prefix="output") == (
        "größe in mm",
        "a/b",
        "output",
        "a/b_1",
    )
    long = naming.served(["x" * 5000, "x" * 5001], prefix="output")
    assert [len(name) for name in long] == [200, 202]
    assert max(map(len, naming.identifiers(["ü" * 5000, "1" * 5000], prefix="output"))) <= 256


def test_layers_have_scopes_of_their_own() -> None:
    names = ["dense", "größe in mm", "gr__e_in_mm", "a b", "A-B", "a(b", "x.y", "dense", "back\\slash"]
    found = naming.scopes(names)
    assert set(found) == set(names)
    assert [found[name] for name in ("dense", "gr__e_in_mm", "A-B", "x.y")] == ["dense", "gr__e_in_mm", "A-B", "x.y"]
    assert found["größe in mm"] == "gr__e_in_mm_1"
    assert len({scope.lower() for scope in found.values()}) == len(found)


@given(st.lists(st.text(max_size=12), max_size=8))
def test_identifiers_differ_without_regard_to_case(names: list[str]) -> None:
    found = naming.identifiers(names, prefix="input")
    assert len({name.lower() for name in found}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) for name in found)


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        ("functional_1/both_1/forward_lstm_1/Tanh:0", "both/forward_lstm"),
        ("functional_1/dense_1/MatMul", "dense_1"),
        ("sequential/unknown/Relu:0", "unknown/Relu"),
    ],
)
def test_a_tensor_s_name_tells_its_layer(tensor: str, expected: str) -> None:
    known = {name: name for name in ("both", "forward_lstm", "dense", "dense_1")}
    assert naming.layer(tensor, known=known) == expected


def test_a_layer_whose_name_no_scope_takes_is_told_by_its_own() -> None:
    assert naming.layer("model_1/gr__e_1/MatMul", known={"gr__e": "größe"}) == "größe"
