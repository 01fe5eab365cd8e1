"""One CONNECT to the broker, to tell a person at once whether this box is let in."""

import queue
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.errors import Unavailable
from edge_agent.identity import BoxIdentity, tls_context
from overwatt.topics import identity

PATIENCE_S: Final = 10.0


def greet(box: BoxIdentity) -> None:
    """Raises Unavailable, saying why not; Invalid where the files cannot be used."""
    where = f"{box.mqtt_host}:{box.mqtt_port}"
    name = identity(box.tenant, box.box)
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5, reconnect_on_failure=False
    )
    client.username_pw_set(name)
    client.tls_set_context(tls_context(box.directory))
    client.connect_timeout = PATIENCE_S
    heard: queue.SimpleQueue[str] = queue.SimpleQueue()
    client.on_connect = lambda *heard_of: heard.put(_refusal(heard_of[3]))
    client.on_disconnect = lambda *_: heard.put("it hangs up")
    try:
        client.connect(box.mqtt_host, box.mqtt_port, clean_start=True)
        client.loop_start()
        reason = heard.get(timeout=PATIENCE_S)
    except (OSError, ValueError) as error:
        raise Unavailable(f"the broker {where}: {error}") from error
    except queue.Empty:
        reason = f"it does not answer within {PATIENCE_S:g} s"
    finally:
        client.disconnect()
        client.loop_stop()
    if reason:
        raise Unavailable(f"the broker {where} does not let this box in: {reason}")


def _refusal(code: Any) -> str:
    return str(code) if code.is_failure else ""
