"""Which values of inputs kill a process that computes one operation of an engine, or fill its memory.

python -m simulators.fatal_values [WORD ...]
"""
