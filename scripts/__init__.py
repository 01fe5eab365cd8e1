"""What developers and the demo run; nothing here is part of a service."""
