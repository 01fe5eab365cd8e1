"""The seal on the audit log: who did what cannot be changed unnoticed."""
