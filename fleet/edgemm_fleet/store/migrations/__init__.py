"""The history of the database's tables: an Alembic environment, one file a revision under `versions`.

To change a table: change `store/schema.py`; add `versions/rNNNN_WHAT.py`, whose `down_revision` is the newest; name it
in `store/revisions.py`; and keep a small database of it and its fingerprint in `tests/golden/databases`, whose README
says how. Columns and tables are named in the migration itself, never taken from `schema.py`, which goes on changing.
There are no downgrades: before a migration a copy is taken, which is the way back.
"""
