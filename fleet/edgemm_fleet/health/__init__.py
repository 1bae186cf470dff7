"""The manager's own health: facts that are measured, and the findings that follow from them."""
