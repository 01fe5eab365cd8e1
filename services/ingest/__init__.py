"""Ingest: what devices say becomes rows, exactly once, or a rejection with its reason.

    MQTT --> gateway ==> Kafka telemetry ==> writer ==> PostgreSQL
      ^         |  ^                            |
      +- ack ---+  +--- telemetry.outcomes -----+

In:  MQTT `devices/+/+/{telemetry,status,reply,event}` (gateway), Kafka `registry`, `commands` (gateway),
     Kafka `telemetry`, `telemetry.late`, `telemetry.dead`, `agent.status`, `agent.event` (writer); HTTP
     (`http/`, a process of its own, whose card says more).
Out: Kafka `telemetry`, `telemetry.late`, `telemetry.dead`, `telemetry.outcomes`, `agent.status`,
     `agent.reply`, `agent.event`; MQTT `cmd`, `ack`, `config`, which nobody else publishes; the tables
     telemetry, telemetry_series, telemetry_other, ingest_offset, ingest_committed, rejection,
     declared_loss, publish_log, rollup_dirty, counter_reset, events.

Promises. The gateway acknowledges a message only after Kafka has all that came out of it. A row and the
offset behind it are one transaction, which a writer that has lost its partition cannot make. An `ack` says
what is committed; what was committed before is acknowledged again. What cannot be stored is counted by
reason and device, and answered: final (delete it) or later (keep it). A command is published while its
box's mode is held, or not at all.
"""
