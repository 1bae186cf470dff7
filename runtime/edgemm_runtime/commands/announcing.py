"""The lines that `edgemm run` prints of a bundle that it serves: where, and a command that asks it."""

from __future__ import annotations

import shlex

import msgspec
import numpy as np

from edgemm.bundle import Bundle
from edgemm.outlet import call_out
from edgemm_runtime.engines import golden
from edgemm_runtime.serving.server import ModelServer
from edgemm_runtime.tensors.named_arrays import Array

_MAX_CURL_VALUES = 128
_BEGIN_A_SEQUENCE = "-H 'X-Sequence-Id: me' -H 'X-Sequence-Start: true'"


def announce(server: ModelServer, bundle: Bundle, *, variant_id: str) -> None:
    """Print where a bundle is served, and a command that works."""
    manifest = bundle.manifest
    call_out(f"{manifest.name} {manifest.version} ({variant_id}) is served at {server.address}")
    call_out(f"  try: {curl_line(server, bundle)}")


def curl_line(server: ModelServer, bundle: Bundle) -> str:
    """Return a command that works: a golden sample where that is short, otherwise the model's metadata."""
    name, sample = bundle.manifest.name, golden.read_samples(bundle).input(0)
    if sum(array.size for array in sample.values()) > _MAX_CURL_VALUES:
        return f"{_how(server)}/v2/models/{name}"
    inputs = {name: _short(array).tolist() for name, array in sample.items()}
    body = msgspec.json.encode({"inputs": inputs}).decode()
    begun = f" {_BEGIN_A_SEQUENCE}" if bundle.manifest.stateful else ""
    return f"{_how(server)}/predict/{name}{begun} -d {shlex.quote(body)}"


def _how(server: ModelServer) -> str:
    """Return curl with what this server asks of its clients; a key is named and not shown."""
    key = '-H "X-API-Key: $EDGEMM_API_KEY" ' if server.access.api_key else ""
    return f"curl -s {'-k ' if server.access.tls else ''}{key}{server.address}"


def _short(array: Array) -> Array:
    """Return float64 values that are spelled shortest and are the very same numbers in the array's own dtype."""
    if array.dtype.kind != "f":
        return array
    # NumPy spells a number with as many digits as its dtype needs: 0.1 for what is 0.10000000149 as a float64.
    return np.array([float(str(value)) for value in array.ravel()], np.float64).reshape(array.shape)
