"""Sites and devices as integrations manage them, so that ingest knows where measurements belong (T-035)."""
