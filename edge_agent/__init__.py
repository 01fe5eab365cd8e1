"""The agent on a box: reads devices, keeps every sample until it is committed, and obeys dispatch.

In: Modbus registers of the site's devices; `cmd`, `ack` and `config` over MQTT.
Out: `telemetry`, `status`, `reply` and `event` over MQTT.
Promise: a sample that was spooled is deleted only when the cloud said that it is in the database (or can
never be), or its loss is declared in numbers. Nothing is sent that is not in the spool.

`python -m edge_agent --help` says how to run it.
"""
