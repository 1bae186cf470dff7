"""The quality of a model without labels, as a device and a fleet know it: a bundle's document, counts, estimates.

* At conversion a committee of tiny heads is trained on the labelled data under synthetic corruptions. How often a
  model agrees with it tells how often the model is right: `MonitorDocument` holds both, and how far off that is.
* On a device a sample of requests is put before the committee; integers are counted, which merge exactly in any order.
* `estimate` makes an accuracy with its interval of such counts, on a device and in a fleet alike. Pure Python.
"""

from edgemm.monitoring import document_check, monitor_document
from edgemm.monitoring.agreement_counts import AgreementCounts
from edgemm.monitoring.estimates import Estimate, EstimateState, estimate
from edgemm.monitoring.monitor_document import MonitorDocument

__all__ = [
    "AgreementCounts",
    "Estimate",
    "EstimateState",
    "MonitorDocument",
    "document_check",
    "estimate",
    "monitor_document",
]
