"""The database: migrations, and the runner that applies them.

`python -m db.migrate` brings the database that DATABASE_URL names to the newest state;
`db.migrate.pending(connection)` says what is missing. `docs/database.md` describes the tables.
"""
