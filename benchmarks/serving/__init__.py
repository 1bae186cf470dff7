"""How fast edgemm serves a small int8 model, beside MLServer, BentoML, LitServe and PyTriton in the same run."""
