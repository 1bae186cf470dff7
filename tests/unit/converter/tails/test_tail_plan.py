"""Layers stay float from the output backwards, as few as are enough, then those that quantization harms."""

from edgemm_converter.formats.layers import Layer
from edgemm_converter.tails import tail_plan


def layer(name: str, *inputs: str) -> Layer:
    return Layer(scope=name, name=name, inputs=inputs, outputs=(name,), weights=0)


DETECTOR = (
    layer("hidden"),
    layer("boxes", "hidden"),
    layer("pixels", "boxes"),
    layer("scores", "hidden"),
    layer("sigmoid", "scores"),
    layer("found", "pixels", "sigmoid"),
    layer("other", "hidden"),
)


def names(layers: tuple[Layer, ...]) -> list[str]:
    return [one.name for one in layers]


def test_tails_grow_step_by_step_and_end_with_the_model() -> None:
    assert [names(tail) for tail in tail_plan.tails(DETECTOR, ["found"])] == [
        ["found"],
        ["pixels", "sigmoid", "found"],
        ["boxes", "pixels", "scores", "sigmoid", "found"],
        ["hidden", "boxes", "pixels", "scores", "sigmoid", "found"],
    ]


def test_only_the_outputs_that_are_off_become_float() -> None:
    assert names(next(tail_plan.tails(DETECTOR, ["other"]))) == ["other"]
    assert names(next(tail_plan.tails(DETECTOR, ["found", "other"]))) == ["found", "other"]


def test_harmful_layers_come_beside_a_short_tail_in_the_order_of_the_file() -> None:
    harmful = [DETECTOR[3], DETECTOR[0]]
    assert [names(some) for some in tail_plan.with_harmful(DETECTOR, ["found"], harmful)] == [
        ["pixels", "scores", "sigmoid", "found"],
        ["hidden", "pixels", "scores", "sigmoid", "found"],
    ]
