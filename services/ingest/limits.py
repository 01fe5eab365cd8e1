"""Who has sent too much: quotas of simple devices, of agents, and of words that promise nothing.

A simple device beyond its rate is rejected: MQTT has no other answer. An agent is told to send again later,
and loses nothing. Words (status, reply, event) have buckets of their own, so that a flood of samples never
costs the answer to a command, nor a flood of events a sample.
"""

import math
from typing import Final

from overwatt.reasons import Reason
from services.ingest.decode_batch import numbers_of
from services.ingest.model import AgentBatch, Message, Rejected, Said, Samples
from services.ingest.quotas import Quotas
from services.ingest.ranges import Ranges
from services.ingest.settings import Settings

WORDS_A_SECOND: Final = 10.0
WORDS_BURST: Final = 300.0
"""An agent keeps 200 for a connection."""
CATCHING_UP_S: Final = 60.0
"""After a connect or a full queue messages may have waited in the broker."""


class Limits:
    """Quotas of one gateway process."""

    def __init__(self, settings: Settings) -> None:
        tenant_rate, tenant_burst = settings.ingest_tenant_rate, settings.ingest_tenant_burst
        self._devices = Quotas(
            device_rate=settings.ingest_device_rate,
            device_burst=settings.ingest_device_burst,
            tenant_rate=tenant_rate,
            tenant_burst=tenant_burst,
        )
        self._agents = Quotas(
            device_rate=settings.ingest_agent_rate,
            device_burst=settings.ingest_agent_burst,
            tenant_rate=tenant_rate,
            tenant_burst=tenant_burst,
        )
        self._words = Quotas(
            device_rate=WORDS_A_SECOND, device_burst=WORDS_BURST, tenant_rate=0, tenant_burst=0
        )

    def is_behind(self, now_s: float) -> None:
        """What comes now may have waited for this gateway: that is not the devices' fault."""
        self._devices.expect_backlog(now_s + CATCHING_UP_S)
        self._words.expect_backlog(now_s + CATCHING_UP_S)

    def check(self, message: Message, meaning: Samples | AgentBatch | Said, now_s: float) -> Rejected | None:
        """Why all of this message is refused; None: it counts."""
        tenant, device = meaning.member.tenant, meaning.member.device
        match meaning:
            case Samples():
                wait_s, what = self._devices.admit(tenant, device, 1, now_s), "messages"
            case AgentBatch():
                wait_s, what = self._agents.admit(tenant, device, meaning.rows, now_s), "samples"
            case Said():
                wait_s, what = self._words.admit(tenant, device, 1, now_s), "status, replies and events"
        return _over_quota(message, meaning, what, wait_s) if wait_s else None


def _over_quota(message: Message, meaning: Samples | AgentBatch | Said, what: str, wait_s: float) -> Rejected:
    epoch, refused = _numbers(message, meaning)
    return Rejected(
        tenant=meaning.member.tenant,
        device=meaning.member.device,
        reason=Reason.RATE_LIMITED,
        detail=f"more {what} than this device or its tenant may send; room again in {wait_s:.3g} s",
        topic=message.topic,
        payload=message.payload,
        epoch=epoch,
        refused=refused,
        retry_after_s=math.ceil(wait_s),
    )


def _numbers(message: Message, meaning: Samples | AgentBatch | Said) -> tuple[int, Ranges]:
    """Epoch and sequence numbers that the sender hears about."""
    match meaning:
        case Samples(_, samples):
            return 0, [(sample.seq, sample.seq) for sample in samples if sample.seq]
        case AgentBatch():
            return numbers_of(message.payload)
        case Said():
            return 0, []
