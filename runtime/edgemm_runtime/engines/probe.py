"""The probe of an engine: runs a small model in a child process, because a wrong CPU build dies at import.

    ask("edgemm_runtime.engines.probe", ["tflite"], answer=type(None), timeout_s=60)

The child, an `edgemm.child_process`, runs the driver's model of one dense layer and compares the answer.
"""

from __future__ import annotations

import sys

import numpy as np

from edgemm.bundle.manifest import DType, Precision, Signature, TensorSpec, Variant, VariantTensor
from edgemm.child_process import reply
from edgemm.errors import SelfTestError
from edgemm_runtime.engines.drivers import driver_of
from edgemm_runtime.engines.opening import load
from edgemm_runtime.tensors.comparison import largest_error

X = np.array([[1, -2, 3, -4]], np.float32)
EXPECTED = np.array([[-2, 4, -6]], np.float32)
_TOLERANCE = 1e-5


def run(engine: str) -> None:
    """Run the little model of an engine in this process.

    Raises:
        EngineError: the engine is missing, cannot load it, or answers wrongly.
    """
    data = driver_of(engine).probe_model()
    model = load(_variant(engine, data), _SIGNATURE, data)
    found = model.run({"x": X})["y"]
    if largest_error(EXPECTED, found) > _TOLERANCE:
        raise SelfTestError(f"{engine}: expected {EXPECTED.tolist()}, found {found.tolist()}")


def main(argv: list[str]) -> int:
    """Run the child: tell the parent what is wrong, if anything, and return the exit status."""
    return reply(lambda: run(argv[0]))


_SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", dtype=DType.FLOAT32, shape=(1, 4)),),
    outputs=(TensorSpec(name="y", dtype=DType.FLOAT32, shape=(1, 3)),),
)


def _variant(engine: str, model: bytes) -> Variant:
    [given], [made] = driver_of(engine).describe(model)
    names = zip((*_SIGNATURE.inputs, *_SIGNATURE.outputs), (given.name, made.name), strict=True)
    tensors = [VariantTensor(name=s.name, tensor=tensor, dtype=s.dtype, shape=s.shape) for s, tensor in names]
    return Variant(
        id=f"{engine}:probe",
        engine=engine,
        precision=Precision.FLOAT32,
        minimum_engine="0",
        blob="0" * 64,
        inputs=(tensors[0],),
        outputs=(tensors[1],),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
