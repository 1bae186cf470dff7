"""The client of the fleet manager's HTTP API, on which the commands of `edgemm fleet` are built.

from edgemm_fleet.client import FleetClient, read_profile

client = FleetClient(read_profile())
for device in client.devices():
    print(device.device.id)
"""

from edgemm_fleet.client.fleet import FleetClient
from edgemm_fleet.client.profile import Profile, read_profile

__all__ = ["FleetClient", "Profile", "read_profile"]
