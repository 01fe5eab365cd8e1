"""Ending a live session on any broker: connect in its name, which ends the other one, and leave nothing.

Clean start and no session expiry: the broker also forgets what it kept for the session.
"""

import queue
import ssl
import tempfile
from pathlib import Path
from typing import Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from services.provisioning.enrolment.authority import Issued
from services.runtime.errors import Unavailable

TIMEOUT_S: Final = 4.0


def take_over(host: str, port: int, identity: str, issued: Issued, chain: str) -> None:
    """Blocks until the other session is gone. Raises Unavailable."""
    answers: queue.Queue[ReasonCode] = queue.Queue()
    client = paho.Client(CallbackAPIVersion.VERSION2, identity, protocol=paho.MQTTv5)
    client.username = identity
    client.connect_timeout = TIMEOUT_S
    client.on_connect = lambda _, __, ___, reason, ____: answers.put(reason)
    client.tls_set_context(_context(issued, chain))
    try:
        client.connect(host, port, clean_start=True)
        client.loop_start()
        reason = answers.get(timeout=TIMEOUT_S)
    except (OSError, queue.Empty) as error:
        raise Unavailable(f"broker {host}:{port} did not take {identity} over: {error!r}") from error
    finally:
        client.disconnect()
        client.loop_stop()
    if reason.is_failure:
        raise Unavailable(f"broker {host}:{port} refused to take {identity} over: {reason}")


def _context(issued: Issued, chain: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=chain)
    # The ssl module reads keys from files only; this one is ours alone and gone at once.
    with tempfile.TemporaryDirectory() as directory:
        both = Path(directory) / "both.pem"
        both.touch(mode=0o600)
        both.write_bytes(issued.key + issued.certificate)
        context.load_cert_chain(both)
    return context
