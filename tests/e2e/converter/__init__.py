"""`edgemm convert` from a user's side: the command line, and the files that it leaves, alone."""
