"""Dead letters for people: `python -m services.ingest dead-letters`."""
