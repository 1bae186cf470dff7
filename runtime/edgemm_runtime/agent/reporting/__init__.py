"""Reports to the fleet: `reported`, events, telemetry, and the gauges of the board."""
