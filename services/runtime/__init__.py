"""What any process needs and nothing about the trade: settings, logs, clock, retry, pool, bus, life."""
