"""What libraries say is put in plain words, and never quoted."""

import logging

import pytest

from edgemm import library_errors

ORT = "[ONNXRuntimeError] : "
RAW = (
    "ONNXRuntimeError",
    ".cc",
    ".h:",
    "/onnxruntime_src",
    "Node number",
    "XNNPACK",
    "\x1b",
    "std::",
    "Status Message",
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"{ORT}9 : NOT_IMPLEMENTED : Could not find an implementation for Resize(18) node with name 'node_3'",
            "operation Resize ('node_3') is not one that it has, or not for values of these types",
        ),
        (
            (f"{ORT}1 : FAIL : Non-zero status code returned while running Reshape node. Name:'node_17' Status Message:"
            " /onnxruntime_src/onnxruntime/core/providers/cpu/tensor/reshape_helper.h:33 onnxruntime::ReshapeHelper "
            "i < input_shape.NumDimensions() was false."),
            "operation Reshape ('node_17') does not compute values of these shapes",
        ),
        (
            (f"{ORT}6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Gather node. Name:'g' Status "
            "Message: indices element out of data bounds, idx=9 must be within the inclusive range [-4,3]"),
            "operation Gather ('g') was given an index that is outside of its table (index 9, of -4 to 3)",
        ),
        (
            (f"{ORT}2 : INVALID_ARGUMENT : Got invalid dimensions for input: x for the following indices\n index: 1 "
            "Got: 3 Expected: 4\n Please fix either the inputs/outputs or the model."),
            "it does not compute values of these shapes (expected a size of 4, found 3)",
        ),
        (f"{ORT}6 : RUNTIME_EXCEPTION : Exception during initialization: std::bad_alloc", "there is not enough memory"),
        (
            f"{ORT}7 : INVALID_PROTOBUF : Failed to load model because protobuf parsing failed.",
            "the file is damaged, or of another format",
        ),
        (
            ("third_party/tensorflow/lite/div.cc:242 Div only supports FLOAT32 and quantized UINT8 now,"
            " got INT64.Node number 5 (DIV) failed to invoke."),
            "operation DIV (number 5 in the file) does not take values of these types",
        ),
        (
            ("Encountered unresolved custom op: FlexErf.\nSee instructions: https://example.com Node number 0 (FlexErf)"
            " failed to prepare."),
            "operation FlexErf (number 0 in the file) is not one that it has, or not for values of these types",
        ),
        (
            "failed to create XNNPACK runtimeNode number 11 (TfLiteXNNPackDelegate) failed to prepare.",
            "it failed for a reason that edgemm does not know (--verbose prints the library's own words)",
        ),
        (
            "Didn't find op for builtin opcode 'CONV_2D' version '9'. Are you using an old binary with a newer model?",
            "operation CONV_2D is newer than it",
        ),
        (
            ("Graph execution error:\n\nDetected at node m/embedding/GatherV2 defined at (most recent call last):\n"
            "indices[0,0] = 7 is not in [0, 4)\n\t [[{{node m/embedding/GatherV2}}]] [Op:__inference_serve_31]"),
            ("operation GatherV2 ('m/embedding/GatherV2') was given an index that is outside of its table (index 7, of "
            "0 to 3)"),
        ),
        ("make_sure failure: \x1b[31mwhatever\x1b[0m in /root/x.cc:3", ("it failed for a reason that edgemm does not "
         "know (--verbose prints the library's own words)")),
    ],
)  # fmt: skip
def test_an_engines_words_become_a_sentence(text: str, expected: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="edgemm"):
        found = library_errors.plain(RuntimeError(text))
    assert found == expected
    assert not any(raw in found for raw in RAW)
    assert "RuntimeError: " in caplog.text
    assert "\x1b" not in caplog.text
    assert library_errors.quoted(RuntimeError(text)) == found


def test_a_layer_that_is_known_is_named() -> None:
    text = f"{ORT}9 : NOT_IMPLEMENTED : Could not find an implementation for Resize(18) node with name 'node_3'"
    found = library_errors.plain(text, layer=lambda failure: {"node_3": "resizing"}[failure.node])
    assert found.startswith("operation Resize (layer 'resizing') is not one")


def test_a_name_is_bounded_and_printable() -> None:
    name = "a\x1b[2J" + "b" * 500
    found = library_errors.plain(f"running Reshape node. Name:'{name}' Status Message: shape")
    assert found.isprintable()
    assert len(found) < 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("expected 3 channels. Found 4.", "expected 3 channels"),
        ("cannot read /usr/lib/python3/x/y.py:33: bad\x07", "cannot read … bad"),
        ("cannot identify image file <_io.BytesIO object at 0x7f00aa>", "cannot identify image file _io.BytesIO"),
        ("", "ValueError"),
    ],
)
def test_what_code_of_a_model_says_is_quoted_without_its_places(text: str, expected: str) -> None:
    assert library_errors.quoted(ValueError(text)) == expected


def test_what_is_quoted_is_bounded() -> None:
    assert len(library_errors.quoted(ValueError("x" * 5000))) == 200
