"""What an MQTT message means: rows, an agent's batch, a word of an agent, or a rejection with its reason.

Nothing that a stranger can send raises here. A simple device sends JSON:

    {"metrics": {"temp_c": 25.5}, "ts": "2026-05-01T12:00:00Z", "seq": 7}

or a list of such. `ts` may be ISO 8601 with an offset or seconds since 1970; without it the time of arrival
counts. An agent sends protobuf, told apart by the content type.
"""

from dataclasses import replace
from typing import Final, TypeAlias

from google.protobuf.message import DecodeError

from overwatt import topics
from overwatt.reasons import Reason
from overwatt.v1.agent_pb2 import AgentEvent, AgentReply, AgentStatus, Event, Reply, Status
from services.ingest import decode_json
from services.ingest.decode_batch import decode_batch
from services.ingest.model import AgentBatch, Member, Message, Rejected, Said, Samples
from services.ingest.registry import Registry
from services.ingest.standing import standing

Meaning: TypeAlias = Samples | AgentBatch | Said | Rejected


def decode(message: Message, registry: Registry) -> Meaning:
    """Never raises; what came from nobody we know is a rejection too."""
    address = topics.parse(message.topic)
    if address is None or address.channel not in topics.UP:
        return Rejected(
            tenant="",
            device="",
            reason=Reason.BAD_TOPIC_FORMAT,
            detail=f"topic {message.topic[:200]!r}; devices/<tenant>/<device>/telemetry would be right, in "
            "small letters, digits, - and _",
            topic=message.topic,
            payload=message.payload,
        )
    member = registry.find(address.tenant, address.device)
    is_json = address.channel == "telemetry" and message.content_type != topics.PROTOBUF
    trouble = standing(member)
    is_erased = trouble is not None and trouble[0] == Reason.DEVICE_ERASED
    problem = trouble if is_erased else _too_large(message, is_json) or trouble
    if address.channel != "telemetry":
        if problem is None and member:
            return _say(message, member, address.channel)
        if address.channel == "reply" and member and member.wipe and _is_wiped(message):
            wiped = AgentReply(
                tenant=member.tenant,
                device=member.device,
                reply=Reply(state=Reply.ERASED),
                received_at_us=message.received_at_us,
            )
            return Said(member, topics.AGENT_REPLY, wiped.SerializeToString())
    elif is_json:
        if problem is None and member:
            return decode_json.decode(message, member)
    else:
        # Read even when it will be refused: only then can the agent be told which samples that means.
        meaning = decode_batch(message, address, member, registry, problem)
        if is_erased and isinstance(meaning, Rejected):
            # Whatever else is wrong with it: under any other reason its payload would be kept.
            return replace(meaning, reason=Reason.DEVICE_ERASED)
        return meaning
    assert problem
    reason, detail = problem
    heard = is_json and reason != Reason.PAYLOAD_TOO_LARGE
    return Rejected(
        tenant=address.tenant,
        device=address.device,
        reason=reason,
        detail=detail,
        topic=message.topic,
        payload=message.payload,
        refused=decode_json.seqs(message.payload) if heard else [],
    )


_WORDS: Final[dict[str, type[Status | Reply | Event]]] = {"status": Status, "reply": Reply, "event": Event}


def _say(message: Message, member: Member, channel: str) -> Said | Rejected:
    try:
        word = _WORDS[channel].FromString(message.payload)
    except DecodeError as error:
        return _refuse(message, member, Reason.MALFORMED, f"no protobuf {_WORDS[channel].__name__}: {error}")
    at_us, tenant, device = message.received_at_us, member.tenant, member.device
    match word:
        case Status():
            status = AgentStatus(tenant=tenant, device=device, status=word, received_at_us=at_us)
            return Said(member, topics.AGENT_STATUS, status.SerializeToString(), word.asked_us)
        case Reply():
            reply = AgentReply(tenant=tenant, device=device, reply=word, received_at_us=at_us)
            return Said(member, topics.AGENT_REPLY, reply.SerializeToString())
        case Event():
            if word.asset and word.asset != device and word.asset not in member.assets:
                detail = f"asset {word.asset[:60]!r} of the event is not in the agent's list"
                return _refuse(message, member, Reason.ASSET_NOT_ALLOWED, detail)
            event = AgentEvent(tenant=tenant, device=device, event=word, received_at_us=at_us)
            return Said(member, topics.AGENT_EVENT, event.SerializeToString())
    raise AssertionError(channel)


def _is_wiped(message: Message) -> bool:
    """The one thing that an erased agent may still say."""
    try:
        return Reply.FromString(message.payload).state == Reply.ERASED
    except DecodeError:
        return False


def _too_large(message: Message, is_json: bool) -> tuple[Reason, str] | None:
    most = topics.MAX_JSON_BYTES if is_json else topics.MAX_BATCH_BYTES
    if len(message.payload) <= most:
        return None
    form = "JSON" if is_json else "protobuf"
    return Reason.PAYLOAD_TOO_LARGE, f"{len(message.payload)} bytes of {form}; at most {most} are taken"


def _refuse(message: Message, member: Member, reason: Reason, detail: str) -> Rejected:
    return Rejected(
        tenant=member.tenant,
        device=member.device,
        reason=reason,
        detail=detail,
        topic=message.topic,
        payload=message.payload,
    )
