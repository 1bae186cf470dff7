"""The profile of the inputs' features: histograms over edges of their own, and the means of windows. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgemm.monitoring.monitor_document import FeatureProfile, View
from edgemm_converter.data.arrays import Array
from edgemm_converter.judging import reference_profile
from edgemm_runtime.monitoring import input_features


@dataclass(frozen=True)
class InputProfile:
    """The features of a view by name, as a device has them."""

    view: View
    names: tuple[str, ...]

    @classmethod
    def of(cls, view: View, inputs: Mapping[str, Array]) -> InputProfile:
        """Return the profile of what such inputs have."""
        return cls(view, input_features.names(view, inputs))

    def values(self, inputs: Mapping[str, Array]) -> Array:
        """Return the features [rows, features] of inputs [rows, …] by name."""
        return input_features.values(self.view, inputs)

    def features(self, inputs: Mapping[str, Array], means: Array) -> tuple[FeatureProfile, ...]:
        """Return the profile of the reference, with the range of the means [windows, features] of all windows."""
        reference = self.values(inputs)
        return tuple(self._feature(name, reference[:, place], means[:, place]) for place, name in enumerate(self.names))

    def _feature(self, name: str, reference: Array, means: Array) -> FeatureProfile:
        edges = reference_profile.histogram(reference).edges.astype(np.float32)
        edges[-1] = np.nextafter(np.float32(reference.max()), np.float32(np.inf))
        edges = np.unique(edges)
        counts = reference_profile.count(reference, edges.astype(np.float64))
        return FeatureProfile(
            name=name,
            edges=edges.astype("<f4").tobytes(),
            counts=tuple(map(int, counts)),
            low=float(means.min()),
            high=float(means.max()),
        )
