"""Operations of ONNX Runtime on values that they may not be ready for."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime

from simulators.fatal_values.case import FOUR, LONG, ONE, PLACES, Array, Case, divisions, integers

_INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
_ENDLESS = 2**40
_ROW = FOUR[None]
_OPSET = 20


def compute(case: Case) -> str:
    """Return the first values of what an operation gives, in words; what the engine raises comes through."""
    inputs = {f"input_{i}": np.asarray(value) for i, value in enumerate(case.inputs) if value is not None}
    names = [f"input_{i}" if value is not None else "" for i, value in enumerate(case.inputs)]
    node = onnx.helper.make_node(case.operation, names, ["output", *["second"] * case.second], **case.options)
    sides = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in inputs.items()
    ]
    graph = onnx.helper.make_graph([node], "one", sides, [onnx.ValueInfoProto(name="output")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", _OPSET)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, inputs)
    return f"{found.dtype}{list(found.shape)} {found.ravel()[:3].tolist()}"


def _ints(*values: int, dtype: str = "int64") -> Array:
    return integers(*values, dtype=dtype)


def cases() -> dict[str, Case]:
    found = divisions([("Div", {}), ("Mod", {}), ("Mod", {"fmod": 1})], _INTEGERS)
    for dtype in ("int32", "int64"):
        found |= {
            f"Pow {dtype}: 0 to -1": Case("Pow", [_ints(0, dtype=dtype), _ints(-1, dtype=dtype)]),
            f"Pow {dtype}: 2 to 1000": Case("Pow", [_ints(2, dtype=dtype), _ints(1000, dtype=dtype)]),
            f"Abs {dtype}: least": Case("Abs", [_ints(np.iinfo(dtype).min, dtype=dtype)]),
            f"Neg {dtype}: least": Case("Neg", [_ints(np.iinfo(dtype).min, dtype=dtype)]),
        }
        for place in PLACES:
            at = _ints(place, dtype=dtype)
            found |= {
                f"Gather {dtype}: {place}": Case("Gather", [_ROW, at], {"axis": 1}),
                f"GatherElements {dtype}: {place}": Case("GatherElements", [_ROW, at[None]], {"axis": 1}),
                f"ScatterElements {dtype}: {place}": Case("ScatterElements", [_ROW, at[None], ONE[None]], {"axis": 1}),
                f"OneHot {dtype}: depth 4 index {place}": Case(
                    "OneHot", [at, _ints(4), np.array([0, 1], np.float32)], gives="float32"
                ),
            }
    for place in (99, -99, 2**62):
        found |= {
            f"GatherND: {place}": Case("GatherND", [_ROW, _ints(0, place)[None]]),
            f"ScatterND: {place}": Case("ScatterND", [_ROW, _ints(0, place)[None], ONE]),
        }
    for count in (-1, 0, LONG, _ENDLESS):
        found |= _onnx_sizes(count)
    found |= {
        "Range int64: step 0": Case("Range", [np.int64(0), np.int64(9), np.int64(0)]),
        "Range float: step 0": Case("Range", [np.float32(0), np.float32(9), np.float32(0)]),
        "Range float: to inf": Case("Range", [np.float32(0), np.float32(np.inf), np.float32(1)]),
        "Range float: to nan": Case("Range", [np.float32(0), np.float32(np.nan), np.float32(1)]),
        "Reshape: to -1 -1": Case("Reshape", [_ROW, _ints(-1, -1)]),
        "Reshape: to 0 0 0": Case("Reshape", [_ROW, _ints(0, 0, 0)]),
        "Slice: step 0": Case("Slice", [_ROW, _ints(0), _ints(4), _ints(1), _ints(0)]),
        "Slice: step least": Case("Slice", [_ROW, _ints(3), _ints(-9), _ints(1), _ints(np.iinfo("int64").min)]),
        "Slice: axis 99": Case("Slice", [_ROW, _ints(0), _ints(4), _ints(99), _ints(1)]),
        "Split: to 9 -5": Case("Split", [_ROW, _ints(9, -5)], {"axis": 1}),
        "Cast: nan to int64": Case("Cast", [np.array([np.nan], np.float32)], {"to": 7}, "int64"),
        "Cast: 1e30 to int32": Case("Cast", [np.array([1e30], np.float32)], {"to": 6}, "int32"),
        "CumSum: axis 99": Case("CumSum", [_ROW, np.int64(99)]),
        "ReduceSum: axis 99": Case("ReduceSum", [_ROW, _ints(99)]),
        "Squeeze: axis 99": Case("Squeeze", [_ROW, _ints(99)]),
        "Unsqueeze: axis 99": Case("Unsqueeze", [_ROW, _ints(99)]),
        "Trilu: by 2^62": Case("Trilu", [_ROW, np.int64(2**62)]),
        "ReverseSequence: length 99": Case(
            "ReverseSequence", [np.ones((4, 1), np.float32), _ints(99)], {"time_axis": 0, "batch_axis": 1}
        ),
        "RoiAlign: row 99": Case(
            "RoiAlign", [np.ones((1, 1, 4, 4), np.float32), np.ones((1, 4), np.float32), _ints(99)]
        ),
        "RoiAlign: region of 1e9": Case(
            "RoiAlign",
            [np.ones((1, 1, 4, 4), np.float32), np.array([[0, 0, 1e9, 1e9]], np.float32), _ints(0)],
            {"output_height": 2, "output_width": 2},
        ),
        "GridSample: nan": Case(
            "GridSample", [np.ones((1, 1, 4, 4), np.float32), np.full((1, 1, 1, 2), np.nan, np.float32)]
        ),
        "GridSample: 1e30": Case(
            "GridSample", [np.ones((1, 1, 4, 4), np.float32), np.full((1, 1, 1, 2), 1e30, np.float32)]
        ),
        "GridSample reflection: 1e30": Case(
            "GridSample", [np.ones((1, 1, 4, 4), np.float32), np.full((1, 1, 1, 2), 1e30, np.float32)],
            {"padding_mode": "reflection"},
        ),
    }  # fmt: skip
    for shift in (8, 64, 200):
        for dtype in ("uint8", "uint32", "uint64"):
            for way in ("LEFT", "RIGHT"):
                operands = [_ints(1, dtype=dtype), _ints(shift, dtype=dtype)]
                found[f"BitShift {way} {dtype}: by {shift}"] = Case("BitShift", operands, {"direction": way})
    return found


def _onnx_sizes(n: int) -> dict[str, Case]:
    image, scale = np.ones((1, 1, 2, 2), np.float32), np.array([1, 1, 1, n / 2], np.float32)
    return {
        f"ConstantOfShape: {n}": Case("ConstantOfShape", [_ints(n)], gives="float32"),
        f"Expand: {n}": Case("Expand", [ONE, _ints(n)]),
        f"Tile: {n}": Case("Tile", [ONE, _ints(n)]),
        f"Range: {n}": Case("Range", [np.int64(0), np.int64(n), np.int64(1)]),
        f"Pad: {n}": Case("Pad", [ONE, _ints(0, n)]),
        f"Pad reflect: {n}": Case("Pad", [FOUR, _ints(0, n)], {"mode": "reflect"}),
        f"Pad wrap: {n}": Case("Pad", [FOUR, _ints(0, n)], {"mode": "wrap"}),
        f"Pad edge: {n}": Case("Pad", [FOUR, _ints(0, n)], {"mode": "edge"}),
        f"OneHot: depth {n}": Case("OneHot", [_ints(0), _ints(n), np.array([0, 1], np.float32)], gives="float32"),
        f"TopK: {n}": Case("TopK", [_ROW, _ints(n)], second=True),
        f"Reshape: {n}": Case("Reshape", [_ROW, _ints(n)]),
        f"Slice: to {n}": Case("Slice", [_ROW, _ints(-n), _ints(n), _ints(1), _ints(1)]),
        f"Split: {n}": Case("Split", [_ROW, _ints(n, 4 - n)], {"axis": 1}),
        f"Resize nearest: sizes {n}": Case("Resize", [image, None, None, _ints(1, 1, 1, n)]),
        f"Resize linear: sizes {n}": Case("Resize", [image, None, None, _ints(1, 1, 1, n)], {"mode": "linear"}),
        f"Resize cubic: sizes {n}": Case("Resize", [image, None, None, _ints(1, 1, 1, n)], {"mode": "cubic"}),
        f"Resize linear: scale {n / 2}": Case("Resize", [image, None, scale], {"mode": "linear"}),
        f"CenterCropPad: {n}": Case("CenterCropPad", [ONE, _ints(n)]),
        f"HannWindow: {n}": Case("HannWindow", [np.int64(n)], gives="float32"),
        f"DFT: length {n}": Case("DFT", [np.ones((1, 4, 1), np.float32), np.int64(n)]),
        f"STFT: step {n}": Case("STFT", [np.ones((1, 8, 1), np.float32), np.int64(n), np.ones(4, np.float32)]),
        f"Col2Im: {n}": Case("Col2Im", [np.ones((1, 1, 4), np.float32), _ints(n, 1), _ints(1, 1)]),
        f"MaxUnpool: {n}": Case(
            "MaxUnpool", [image, _ints(0, 1, 2, n).reshape(1, 1, 2, 2)], {"kernel_shape": [2, 2]}
        ),
    }  # fmt: skip
