"""The runtime's commands: each parses, calls and prints.

Each command is a process of its own, so it may set the number of threads that NumPy's OpenBLAS starts when NumPy is
imported. By default that is one per CPU. They spin for 0.1 s in every process, self-tests included, and nothing here
multiplies matrices with them. A program that imports `edgemm_runtime` itself keeps its threads.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
