"""The reader of the kernel's files about the machine; a file that is missing or closed to this user gives None.

It never blocks.
"""

from __future__ import annotations

from pathlib import Path

from edgemm_runtime.board import parsing

ROOT = Path("/")
_THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"


class Sysfs:
    """The files under `/proc` and `/sys`; `root` is where these lie."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root

    def text(self, path: str | Path) -> str | None:
        """Return a file's text without what surrounds it."""
        try:
            return (self._root / path).read_text(errors="replace").strip("\0\n ")
        except OSError:
            return None

    def temperature_c(self) -> float | None:
        """Return the highest temperature that a thermal zone or sensor tells."""
        paths = [*self._all("sys/class/thermal/thermal_zone*/temp"), *self._all("sys/class/hwmon/hwmon*/temp*_input")]
        found = [t for path in paths if (t := parsing.temperature_c(self.text(path))) is not None]
        return round(max(found), 1) if found else None

    def throttled_bits(self) -> int | None:
        """Return the bits of `parsing.Throttle` for now and since boot, of whatever tells them here."""
        bits = parsing.throttled_bits(self.text(_THROTTLED))
        for folder in self._all("sys/class/hwmon/hwmon*"):
            if self.text(folder / "name") == "rpi_volt":
                bits = parsing.with_alarm(bits, self.text(folder / "in0_lcrit_alarm"))
        return bits

    def storage_life_used_percent(self) -> int | None:
        """Return the life that is used of the most worn eMMC; SD cards do not tell theirs."""
        lives = [parsing.life_used_percent(self.text(p)) for p in self._all("sys/block/mmcblk*/device/life_time")]
        return max((life for life in lives if life is not None), default=None)

    def memory_bytes(self, field: str) -> int | None:
        """Return a field of `/proc/meminfo`."""
        return parsing.memory_bytes(self.text("proc/meminfo"), field)

    def cpu_model(self) -> str | None:
        """Return what the processor is called."""
        return parsing.cpu_model(self.text("proc/cpuinfo"))

    def frequency_mhz(self) -> tuple[int, int] | None:
        """Return (now, at most) of the first processor."""
        folder = Path("sys/devices/system/cpu/cpu0/cpufreq")
        texts = [self.text(folder / name) or "" for name in ("scaling_cur_freq", "cpuinfo_max_freq")]
        return (int(texts[0]) // 1000, int(texts[1]) // 1000) if all(text.isdecimal() for text in texts) else None

    def governor(self) -> str | None:
        """Return how the first processor's frequency is chosen."""
        return self.text("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")

    def read_only(self, folder: Path) -> bool | None:
        """Tell whether the file system of a folder is mounted read-only."""
        best: tuple[int, bool] | None = None
        for line in (self.text("proc/self/mounts") or "").splitlines():
            words = line.split()
            if len(words) >= 4 and folder.is_relative_to(words[1].replace("\\040", " ")):
                found = (len(words[1]), "ro" in words[3].split(","))
                best = max(best, found, key=lambda one: one[0]) if best else found
        return best[1] if best else None

    def _all(self, pattern: str) -> list[Path]:
        return sorted(self._root.glob(pattern))
