import subprocess
import sys
from pathlib import Path

import pytest

import edgemm_converter
from edgemm.errors import InputError, MissingExtraError
from edgemm_converter import ConversionOptions, cli
from edgemm_converter.job import installed_packages
from tests.programs import environment


def test_what_is_public() -> None:
    assert edgemm_converter.__all__ == ["ChildLimits", "ConversionOptions", "ConversionResult", "convert"]


def test_the_command_and_the_api_take_the_same_options() -> None:
    command = {parameter.name for parameter in cli.convert.params}
    parameters = {"source", "timeout", "max_memory", "cache"}  # of the function, the two in the middle as its limits
    assert command - parameters - {"as_json", "verbose"} == set(ConversionOptions.__annotations__)


def test_an_unknown_option_is_refused_as_an_unknown_parameter_is(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"unexpected option 'precision'; expected one of output, .*precisions"):
        edgemm_converter.convert(tmp_path / "x.keras", precision="int8")  # type: ignore[call-arg]  # the test


def test_an_unknown_metric_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    model = tmp_path / "x.onnx"
    model.write_bytes(b"\x08\x08")
    with pytest.raises(InputError, match=r"metric 'kappa': expected one of accuracy, f1"):
        edgemm_converter.convert(model, metric="kappa")


def test_a_missing_library_says_what_to_install() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'edgemm\[converter\]'"):
        installed_packages.require(["no_such_package"])


def test_a_child_process_imports_no_whole_conversion() -> None:
    asked = "import edgemm_converter.verify.child, sys; print('edgemm_converter.conversion' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
