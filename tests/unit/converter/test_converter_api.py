import pytest

import edgemm_converter
from edgemm.errors import MissingExtraError
from edgemm_converter import extras


def test_what_is_public() -> None:
    assert edgemm_converter.__all__ == ["ChildLimits", "ConversionResult", "convert"]


def test_a_missing_library_says_what_to_install() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'edgemm\[converter\]'"):
        extras.require(["no_such_package"])
