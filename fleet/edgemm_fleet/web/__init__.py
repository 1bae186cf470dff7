"""The web page of a fleet: one plain page of devices, versions and rollouts, as the API tells them."""

from edgemm_fleet.web.page import page

__all__ = ["page"]
