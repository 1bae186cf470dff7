"""Actions that the fleet asks for once, and the diagnosis among them."""
