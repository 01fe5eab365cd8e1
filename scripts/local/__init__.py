"""The real platform on one machine without Docker: PostgreSQL, Redis, Mosquitto, Kafka and our services.

Each is an ordinary process with its data under one home directory (`.local/`), its own configuration and
its own port on loopback. `python -m scripts.local up` starts all, `down` leaves no process.
"""
