"""A second version of a model beside the active one: it sees a share of the requests and answers none of them."""
