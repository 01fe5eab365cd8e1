"""A person's own boxes: how they are called, and what the platform may do with them."""
