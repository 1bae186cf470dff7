"""The library of corruptions: what happens to inputs in the field, by modality, with a severity of 0 to 5. Pure."""

from edgemm_converter.monitoring.corruptions.library import MOST_SEVERE, Corruption, corrupted, families

__all__ = ["MOST_SEVERE", "Corruption", "corrupted", "families"]
