"""Devices: whatever holds MQTT credentials, and the assets that an agent speaks for.

In:  requests of administrators, and of operators through the api.
Out: rows of device in one transaction with their audit row; the registry topic hears at once.
"""
