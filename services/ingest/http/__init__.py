"""Ingest by HTTP, for those who cannot speak MQTT: samples in, and an answer when they are in the database.

    request -> whose token -> decode -> Kafka telemetry ==> writer ==> PostgreSQL
       ^                                                      |
       +---------------- telemetry.outcomes ------------------+

In:  POST /ingest/v1/tenant/<tenant>/device/<device>/telemetry and POST /ingest/v1/batch on port 8444, TLS.
Out: Kafka `telemetry` and `telemetry.dead`.

Promises. `accepted` is said after the database commit; without one within 10 s the answer is 503, and the
same request again stores nothing twice. The tenant is the token's, never the body's. A token that was taken
back is refused with the next request. What waits is bounded.
"""
