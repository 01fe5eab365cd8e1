"""What the MQTT broker is told: who may publish and hear what, who is out, whose session has to end.

In:  the tables certificate, device, device_token, session_cut; a call when one of them was changed.
Out: Mosquitto's rules, passwords and CRL as files, or EMQX's bans over its REST interface; sessions cut.

Promise: a second after the commit of a revocation the broker refuses new connections and delivers nothing
from the old one, which is then cut. What could not be told is tried again every second.
"""
