"""The two databases behind the store, SQLite and PostgreSQL, and what both understand."""
