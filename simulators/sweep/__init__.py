"""A sweep over every layer, activation and operation of Keras: converted, run in both engines, and compared.

`python -m simulators.sweep PART` prints one JSON object. Each table is data: what is asked of which function on which
inputs; `gaps` says what an engine refuses, and why.
"""
