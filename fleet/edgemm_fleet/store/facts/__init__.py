"""The store's tables of facts, by which filters find devices without a look at the others."""
