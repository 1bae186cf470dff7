"""PyTriton: NVIDIA's tritonserver with its Python backend, HTTP alone of its listeners used."""

from __future__ import annotations

import os
import socket

import numpy as np
from classifier import INPUT, OUTPUT, PORT, shape
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from pytriton_function import infer


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def main() -> None:
    """Serve until a signal ends it."""
    config = TritonConfig(
        http_address="127.0.0.1", http_port=int(os.environ[PORT]), grpc_port=free_port(), metrics_port=free_port()
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="ic",
            infer_func=infer,
            inputs=[Tensor(name="x", dtype=np.int8, shape=shape(INPUT))],
            outputs=[Tensor(name="y", dtype=np.int8, shape=shape(OUTPUT))],
            config=ModelConfig(batching=False),
        )
        triton.serve()


if __name__ == "__main__":
    main()
