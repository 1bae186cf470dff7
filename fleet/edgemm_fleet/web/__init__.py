"""One plain page that shows a fleet: devices, versions and rollouts, as the API tells them."""

from edgemm_fleet.web.page import page

__all__ = ["page"]
