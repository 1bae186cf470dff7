"""Keys, signed envelopes, enrolment tokens and pinned certificates, as devices and the fleet manager share them."""
