"""The wire contract: the only code that edge and cloud share.

`v1/*.proto` are the messages, `topics` the MQTT and Kafka names, `quantities` the metrics with unit, sign
and kind, `split` the division of a site's power over its assets, `inventory` the assets file.
"""
