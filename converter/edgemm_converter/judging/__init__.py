"""Judgements on numbers: parity, golden tolerances, metrics, profiles and the precision search. Pure."""
