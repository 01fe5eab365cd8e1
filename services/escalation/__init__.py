"""Escalation: from a number out of bounds, or from silence, to a page at somebody's webhook.

In:  Kafka `telemetry` (samples; any message is a heartbeat), `agent.status`, `registry`; the tables
     alert_rules and notification_channels.
Out: the tables alerts, alerts_24h, deliveries and delivery_attempts; signed POSTs to webhooks; Kafka
     `alert.events` as JSON (best effort, after the commit).

Promises: one open alert per (tenant, fingerprint), however often its cause is read. Once an alert is in the
database its page goes out with PostgreSQL alone: neither Kafka nor Redis is needed. Killed anywhere, no page
is missed; a page that is sent twice carries the same webhook-id, so that its receiver can count it once.
Rules work on event time, so that late or repeated samples change nothing.

  stream.py   samples -> rules.py, messages -> heartbeat.py -> alerts         (needs Kafka)
  engine.py   due alerts -> escalate.py -> state and deliveries, one transaction
  deliver.py  due deliveries -> lease -> notifiers/ -> what became of it
"""
