"""One file a revision; what has landed here is never changed, for somebody's database is of it."""
