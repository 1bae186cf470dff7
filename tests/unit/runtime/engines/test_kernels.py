"""The build of an engine is told by what it answers."""

from __future__ import annotations

import platform
from functools import partial

import pytest

from edgemm.bundle.engine_facts import Engine
from edgemm_runtime.engines import kernels, litert
from edgemm_runtime.engines.interpreter import Interpreter, OpResolverType
from edgemm_runtime.installed import available


@pytest.mark.parametrize("engine", [*Engine])
def test_a_build_is_the_same_each_time(engine: str) -> None:
    build = kernels.build_of(engine)
    assert build is not None
    assert (build.version, build.machine) == (available()[engine], platform.machine())
    assert build.answers is not None
    assert kernels.build_of(engine) == build


@pytest.mark.parametrize(
    "resolver", [OpResolverType.BUILTIN_REF, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES], ids=str
)
def test_other_kernels_of_the_same_version_are_told_apart(
    resolver: OpResolverType, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = kernels.build_of(Engine.TFLITE)
    monkeypatch.setattr(litert, "Interpreter", partial(Interpreter, experimental_op_resolver_type=resolver))
    other = kernels.build_of(Engine.TFLITE)
    assert other is not None
    assert build is not None
    assert (other.version, other.machine) == (build.version, build.machine)
    assert other.answers != build.answers


def test_an_engine_that_is_not_here_has_no_build() -> None:
    assert kernels.build_of("acme-npu") is None
