"""The machine's memory, or that of the control group: whichever is less, in both versions of control groups."""

from __future__ import annotations

import os
from pathlib import Path

from edgemm_runtime.http.limits import ServingLimits
from edgemm_runtime.memory.machine_memory import memory_bytes

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
MIB = 1024 * 1024


def system(root: Path, groups: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_without_control_groups_it_is_the_machines(tmp_path: Path) -> None:
    assert memory_bytes(tmp_path) == MACHINE


def test_the_least_of_the_groups_above_counts(tmp_path: Path) -> None:
    files = {
        "sys/fs/cgroup/system.slice/edgemm.service/memory.max": "max\n",
        "sys/fs/cgroup/system.slice/memory.max": f"{100 * MIB}\n",
        "sys/fs/cgroup/memory.max": f"{200 * MIB}\n",
    }
    assert memory_bytes(system(tmp_path, "0::/system.slice/edgemm.service\n", files)) == 100 * MIB


def test_in_a_container_the_limit_is_at_the_top(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/memory.max": f"{64 * MIB}\n"}
    assert memory_bytes(system(tmp_path, "0::/../docker-abc.scope\n", files)) == 64 * MIB


def test_the_first_version_is_read_too(tmp_path: Path) -> None:
    files = {
        "sys/fs/cgroup/memory/box/memory.limit_in_bytes": f"{50 * MIB}\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2**63 - 4096}\n",
    }
    assert memory_bytes(system(tmp_path, "5:cpu:/other\n4:memory:/box\n", files)) == 50 * MIB


def test_a_quarter_is_for_requests() -> None:
    assert ServingLimits().memory_bytes == min(memory_bytes() // 4, 256 * MIB)
