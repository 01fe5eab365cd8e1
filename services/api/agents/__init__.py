"""The agents that are connected, with their last sessions."""
