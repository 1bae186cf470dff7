"""All golden vectors. `python -m tests.golden.vectors` writes the files that are missing and touches no other."""

from __future__ import annotations

from tests.golden import generations, later, monitor, state, trust, unknown, wire

VECTORS = [
    *wire.VECTORS, *generations.VECTORS, *trust.VECTORS, *state.VECTORS, *later.VECTORS, *unknown.VECTORS,
    *monitor.VECTORS,
]  # fmt: skip


def main() -> None:
    """Write the files that are missing."""
    for vector in VECTORS:
        if vector.write is not None and not vector.path.exists():
            vector.path.parent.mkdir(parents=True, exist_ok=True)
            vector.path.write_bytes(vector.write(vector.value))
            print("wrote", vector.name)


if __name__ == "__main__":
    main()
