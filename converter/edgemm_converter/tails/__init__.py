"""Float tails: last layers that stay float where integers would lose a column of an output; made in a child process."""
