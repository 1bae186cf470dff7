"""An engine that edgemm does not bring: one dense layer, computed by NumPy. It is known by entry points alone."""
