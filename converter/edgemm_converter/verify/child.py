"""The child process that runs variants in the device's engines.

It is run as `python -m edgemm_converter.verify.child FOLDER`. "It converts" means "it runs on the device's
engine", so the engines are the runtime's own, in a process without TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgemm import library_errors
from edgemm.bundle.manifest import Precision, Signature, Variant
from edgemm.errors import ConversionError, EdgemmError, EngineError
from edgemm_converter.children import array_files, childside
from edgemm_converter.children.child import Progress, all_refused
from edgemm_converter.children.protocol import (
    EngineRequest,
    Ran,
    RunRequest,
    SampleSet,
    SelfTestPassed,
    SelfTestRequest,
)
from edgemm_converter.job import targets
from edgemm_converter.verify import self_test
from edgemm_runtime import engines

_INTEGERS = (Precision.INT8, Precision.INT16X8)


def answer(request: EngineRequest, folder: Path, progress: Progress) -> Ran | SelfTestPassed:
    """Run sample sets, or a bundle's golden samples."""
    if isinstance(request, SelfTestRequest):
        return self_test.run(request, progress)
    return _run_all(request, folder, progress)


def _run_all(request: RunRequest, folder: Path, progress: Progress) -> Ran:
    outputs: dict[str, dict[str, dict[str, str]]] = {}
    refused: dict[str, ConversionError] = {}
    floats: dict[str, tuple[str, ...]] = {}
    for number, variant in enumerate(request.variants):
        progress(f"running {variant.id} in its engine")
        file = (folder / request.files[variant.id]).read_bytes()
        try:
            model = engines.load(
                variant, request.signature, file, threads=self_test.threads(), stateful=request.stateful
            )
            outputs[variant.id] = {
                s.id: _run(model.fresh(), s, request.signature, folder=folder, prefix=f"v{number}-{s.id}-")
                for s in request.sets
            }
            if variant.precision in _INTEGERS:
                found = targets.target_of(variant.engine).floats_in(file)
                floats |= {variant.id: found} if found is not None else {}
        except EngineError as err:
            refused[variant.id] = _refusal(variant, err, file, request.layers.get(variant.id, {}))
            if variant.id in request.required:
                raise refused[variant.id] from err
    if not outputs:
        raise all_refused(refused.values())
    return Ran(outputs=outputs, left_out={variant_id: str(err) for variant_id, err in refused.items()}, floats=floats)


def _run(
    model: engines.LoadedModel, given: SampleSet, signature: Signature, *, folder: Path, prefix: str
) -> dict[str, str]:
    found = array_files.answers(model.run, array_files.load(given.inputs, folder))
    return array_files.save({spec.name: found[spec.name] for spec in signature.outputs}, folder, prefix=prefix)


def _refusal(variant: Variant, err: EngineError, file: bytes, layers: Mapping[str, str]) -> ConversionError:
    """Say that an engine cannot run a variant, and of which layer the operation is at which it fails."""
    said, cause = str(err), list(library_errors.chain(err))[-1]
    found = library_errors.failure(cause)
    layer = layers.get(found.node) or targets.target_of(variant.engine).layer_of(file, found.index)
    if not isinstance(cause, EdgemmError) and found.operation and layer:
        said = said.replace(found.words(), found.words(layer))
    return ConversionError(
        f"{variant.id} was converted, but the device's engine cannot run it: {said}; leave it out with "
        "--target or --precision, fix variable dimensions, or replace the layer"
    )


if __name__ == "__main__":
    childside.serve(EngineRequest, answer)  # type: ignore[arg-type]  # a union of messages is a type to msgspec
