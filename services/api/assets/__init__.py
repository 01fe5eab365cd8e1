"""The assets of the caller's tenant, by site."""
