"""A fleet that is not there: load for the platform, as agents and simple devices make it."""
