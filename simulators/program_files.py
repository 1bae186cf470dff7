"""Files of `torch.export`, made without PyTorch: a program that adds 1, and what an attacker may put into one."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LEAF: dict[str, Any] = {"type": None, "context": None, "children_spec": []}


def tree(kind: str | None = "builtins.tuple", context: str = "null", *children: Any) -> str:
    """Return the description of a tree of arguments."""
    return json.dumps([1, {"type": kind, "context": context, "children_spec": list(children) or [LEAF]}])


def sized(text: str) -> dict[str, Any]:
    """Return the description of a tensor of float32 with an open size."""
    one = {"as_expr": {"expr_str": text, "hint": {"as_int": 2}}}
    return {
        "dtype": 7, "sizes": [one], "requires_grad": False, "device": {"type": "cuda", "index": 0},
        "strides": [{"as_int": 1}], "storage_offset": {"as_int": 0}, "layout": 7,
    }  # fmt: skip


def graph(
    *, target: str = "torch.ops.aten.add.Tensor", size: str = "Symbol('s0', positive=True)", out_spec: str = tree()
) -> dict[str, Any]:
    """Return the description of a program."""
    node = {
        "target": target,
        "inputs": [{"name": "self", "arg": {"as_tensor": {"name": "x"}}, "kind": 1}],
        "outputs": [{"as_tensor": {"name": "add"}}],
        "metadata": {"stack_trace": "/home/someone/train.py", "nn_module_stack": "a,b,c", "torch_fn": "os.system"},
    }
    arguments = tree("builtins.tuple", "null", json.loads(tree())[1])
    called = {"fqn": "", "signature": {"in_spec": arguments, "out_spec": out_spec}}
    return {
        "graph_module": {
            "graph": {"nodes": [node], "tensor_values": {"x": sized(size)}},
            "module_call_graph": [called],
        },
        "schema_version": {"major": 8, "minor": 20},
        "torch_version": "2.13.0",
        "guards_code": ["__import__('os').system('touch ran')"],
    }


def weights(name: str = "weight_0", *, pickled: bool = False) -> dict[str, Any]:
    """Return the list of one weight."""
    return {"config": {"w": {"path_name": name, "use_pickle": pickled, "tensor_meta": sized("Integer(1)")}}}


def write(path: Path, members: Mapping[str, bytes | str] | None = None, **described: Any) -> Path:
    """Write a file as `torch.export.save` does, with `members` in the place of its own."""
    own: dict[str, bytes | str] = {
        "archive_format": "pt2", "archive_version": "0", "byteorder": "little", ".data/version": "6\n",
        "models/model.json": json.dumps(graph(**described)), "data/weights/weight_0": bytes(4),
        "data/weights/model_weights_config.json": json.dumps(weights()),
        "data/constants/model_constants_config.json": json.dumps({"config": {}}),
        "data/sample_inputs/model.pt": b"a pickle",
    }  # fmt: skip
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**own, **(members or {})}.items():
            archive.writestr(f"model/{name}", content)
    return path
