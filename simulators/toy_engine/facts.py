"""What is known of the engine without running it."""

from edgemm.bundle.engine_facts import EngineDistribution, EngineFacts

FACTS = EngineFacts(
    id="toy",
    suffix=".toy",
    media_type="application/x-toy",
    platform="numpy_toy",
    distributions=(EngineDistribution("toy-engine", "toy-engine"),),
)
