"""The fleet manager: rolls bundles out to devices and judges the results, on a server."""
