"""Named columns of a table: which an estimator takes, and the graph that makes numbers of them."""
