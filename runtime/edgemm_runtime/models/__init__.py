"""The models that one process serves: loaded, swapped, counted, and given up where they hang."""
