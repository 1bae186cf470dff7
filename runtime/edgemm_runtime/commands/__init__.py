"""The runtime's commands: each parses, calls and prints.

Each is a process of its own, which may say how many threads NumPy's OpenBLAS starts when NumPy is imported. By default
one a CPU, which spin for 0.1 s in every process, self-tests too, and nothing here multiplies matrices with them. A
program that imports `edgemm_runtime` itself keeps its threads.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
