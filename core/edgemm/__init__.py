"""edgemm: takes a trained Keras model to a monitored, roll-back-safe fleet of edge devices.

This package holds the contracts that the parts share: the bundle, the topics and messages, the states, the
signed envelopes. It imports no web, MQTT, machine-learning or network library.
"""

__version__ = "0.3.0"
__all__ = ["__version__"]
