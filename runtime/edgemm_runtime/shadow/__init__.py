"""Shadows: a second version of a model beside the active one, which sees a share of requests, answers none."""
