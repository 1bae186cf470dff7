"""Every block of docs/converter.md runs as it stands, and every public name is in one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import edgemm_converter
from edgemm.bundle.manifest import Precision
from edgemm_converter.data import preprocessing
from edgemm_converter.job import variant_plan
from tests.docs.pages import DOCS, Block, blocks, tables
from tests.programs import environment

PAGE = DOCS / "converter.md"
BLOCKS = blocks(PAGE)


def marked(*markers: str) -> list[object]:
    return [block for block in BLOCKS if block.marker in markers]


def test_every_block_says_how_it_is_tested() -> None:
    assert {block.marker for block in BLOCKS} == {"run", "python", "preprocess", "estimator", "program"}


def test_every_public_name_is_in_an_example() -> None:
    examples = "\n".join(block.text for block in BLOCKS if block.marker == "python")
    assert [name for name in edgemm_converter.__all__ if name not in examples] == []


def test_every_precision_is_described() -> None:
    said = [row[0].strip("`") for row in tables(PAGE)["Precisions"]]
    assert set(said) == {*map(str, variant_plan.PRECISIONS), variant_plan.AUTO}
    assert set(variant_plan.PRECISIONS) == set(Precision) - {Precision.MIXED}


def test_the_declaration_is_one(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text(next(b.text for b in BLOCKS if b.marker == "preprocess"))
    assert preprocessing.made_shape(preprocessing.read(tmp_path / "p.toml")["image"]) == (8, 8, 1)


@pytest.mark.tensorflow
@pytest.mark.parametrize("block", marked("run", "python"), ids=str)
def test_a_block_runs(block: Block, models: Path, tmp_path: Path) -> None:
    for name, source in (("digits.keras", "cnn.keras"), ("real-inputs.npz", "images.npz"), ("labelled.npz",) * 2):
        shutil.copy(models / source, tmp_path / name)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-c", block.text] if block.marker == "python" else ["bash", "-euc", block.text]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(PATH=path), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if 'precisions=["int8"]' in block.text:
        assert done.stdout.startswith("can never work: precision int8 needs --calibration")
    else:
        assert list(tmp_path.glob("*.edgemm"))
