"""What a golden vector is, and keys that are known to everybody and good for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Vector:
    """One golden file: the value that it means, and today's writer and reader of such files.

    An earlier form of a file, which is read and no longer written, has no writer.
    """

    name: str
    value: Any
    write: Callable[[Any], bytes] | None
    read: Callable[[bytes], Any]

    @property
    def path(self) -> Path:
        """Where the file is."""
        return FOLDER / self.name


def signer(number: int) -> CryptoSigner:
    """Return the key whose 32 private bytes are all `number`."""
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


DIRECTOR, DEVICE, ROOT, TARGETS, SNAPSHOT, TIMESTAMP, PUBLISHER = (signer(n) for n in range(1, 8))
