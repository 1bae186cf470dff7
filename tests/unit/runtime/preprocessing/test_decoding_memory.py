"""What is counted before an image is decoded is at least what its library takes, which grows the process by it."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edgemm_runtime.preprocessing.decoding_memory import decoding_bytes

SIDE = 1600
PIXELS = SIDE * SIDE
SAVED: dict[str, tuple[str, dict[str, Any]]] = {
    "JPEG": ("JPEG", {}),
    "progressive JPEG": ("JPEG", {"progressive": True, "subsampling": 0}),
    "WebP": ("WEBP", {"method": 0}),
    "PNG": ("PNG", {"compress_level": 1}),
    "TIFF of one strip": ("TIFF", {"compression": "tiff_lzw", "tiffinfo": {278: SIDE}}),
    "TIFF": ("TIFF", {}),
}
# Run alone: what the process had at its peak more than before, and what is counted.
PROGRAM = """
import sys
from PIL import Image
from edgemm_runtime.memory.memory_budget import MemoryBudget, here
from edgemm_runtime.preprocessing import image_decoding

def status(field):
    return [int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(field)][0]

data, small = open(sys.argv[1], "rb").read(), open(sys.argv[2], "rb").read()
image_decoding.decoded(small, grey=False)
here.holding = MemoryBudget(2**40).holding()
open("/proc/self/clear_refs", "w").write("5")
before = status("VmRSS")
image_decoding.decoded(data, grey=False)
print(status("VmHWM") - before, here.holding.held_bytes)
"""


@pytest.mark.parametrize("name", SAVED)
def test_decoding_takes_no_more_than_is_counted(name: str, tmp_path: Path) -> None:
    kind, options = SAVED[name]
    picture = Image.effect_noise((SIDE // 4, SIDE // 4), 90).convert("RGB").resize((SIDE, SIDE))
    picture.save(tmp_path / "large", kind, **options)
    picture.resize((8, 8)).save(tmp_path / "small", kind)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "large"), str(tmp_path / "small")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    taken, counted = map(int, done.stdout.split())
    assert taken <= counted + 2 * 2**20
    assert counted <= 22 * PIXELS


def test_a_plain_photo_costs_what_it_is_kept_in() -> None:
    data = io.BytesIO()
    Image.new("RGB", (40, 30)).save(data, "JPEG")
    with Image.open(data) as opened:
        assert decoding_bytes(opened, mode="RGB") == 40 * 30 * 4
