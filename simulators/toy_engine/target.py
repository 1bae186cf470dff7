"""How the engine's files are made, told and read: a `Target`. Light; what is heavy is named."""

from edgemm.bundle.manifest import Precision
from edgemm_converter.job.targets import Target
from simulators.toy_engine.file import MARK


def is_file(head: bytes) -> bool:
    return head.startswith(MARK)


TARGET = Target(
    engine="toy",
    precisions=(Precision.FLOAT32,),
    export="simulators.toy_engine.exporter:ToyExporter",
    read="simulators.toy_engine.exporter:read_finished",
    is_file=is_file,
    libraries=("toy-engine",),
)
