"""The controller's SQL, and nobody else's. Every function runs in the caller's transaction."""
