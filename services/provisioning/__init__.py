"""Provisioning: who belongs. Tenants, sites, boxes with their mode, devices, assets; who waits to come in.

In:  the assets file at start (ASSETS_PATH), and administrators over HTTP on port 8081 (`X-Admin-Key`).
Out: the tables tenant, site, box, device, asset, and Kafka `registry`: one compacted record per device.

Promises: an import repeated changes nothing; an asset that left the file is decommissioned, never deleted,
and what a person said outlives every import: a mode, a site's name, a box or device put out of use. What was
committed reaches Kafka at least once, in order per device, also after a crash between the two:
`published_at` follows only when Kafka has the record. A change of mode waits until no command is on its way
under the old one, and raises `mode_epoch`. Every change is written to the audit log in the transaction that
makes it.
"""
