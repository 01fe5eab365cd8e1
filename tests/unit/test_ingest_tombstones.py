"""What is erased stays erased: the gateway refuses it for good, keeps nothing, and orders the spool wiped.

Part of H-022 and H-026: the tombstone that stands before anything is deleted.
"""

from aiokafka.structs import ConsumerRecord

from overwatt.reasons import Reason, is_final
from overwatt.topics import PROTOBUF, REGISTRY, identity_hash, tombstone_of
from overwatt.v1.agent_pb2 import AgentReply, Config, Reply
from overwatt.v1.registry_pb2 import Device
from services.ingest.configs import Configs
from services.ingest.decode import decode
from services.ingest.model import Member, Message, Rejected, Said
from services.ingest.registry import Registry
from services.ingest.rejections import Rejections

TOMBSTONE = tombstone_of(identity_hash("t", "box"))
ERASED = Device(state="erased")


def a_record(key: str, device: Device | None) -> ConsumerRecord[bytes, bytes]:
    value = None if device is None else device.SerializeToString()
    return ConsumerRecord(REGISTRY, 0, 0, 0, 0, key.encode(), value, None, 0, 0, ())


def a_registry(*told: tuple[str, Device | None]) -> Registry:
    registry = Registry()
    for key, device in told:
        registry.apply(a_record(key, device))
    return registry


def a_box(**fields: object) -> Device:
    return Device(tenant="t", device="box", box="box", device_key=1, **fields)  # type: ignore[arg-type]


def a_message(channel: str, payload: bytes, content_type: str = PROTOBUF) -> Message:
    return Message(f"devices/t/box/{channel}", payload, content_type, 0)


def test_a_tombstone_alone_makes_an_identity_erased_and_no_other() -> None:
    registry = a_registry((TOMBSTONE, ERASED))

    meaning = decode(a_message("telemetry", b'{"metrics":{"temp_c":1},"seq":7}', ""), registry)
    assert isinstance(meaning, Rejected)
    assert (meaning.reason, meaning.refused) == (Reason.DEVICE_ERASED, [(7, 7)])
    assert is_final(meaning.reason)  # so the sender forgets it too
    assert registry.find("t", "other") is None
    assert registry.find("u", "box") is None


def test_a_tombstone_outlives_the_readable_record_and_every_later_one() -> None:
    registry = a_registry(
        ("t/box", a_box(state="erased")),
        (TOMBSTONE, ERASED),
        ("t/box", a_box(state="active")),
    )
    member = registry.find("t", "box")
    assert member
    assert member.state == "erased"

    registry.apply(a_record("t/box", None))
    member = registry.find("t", "box")
    assert member
    assert member.state == "erased"


def test_of_an_erased_sender_only_a_number_is_kept() -> None:
    registry = a_registry((TOMBSTONE, ERASED))
    for payload, content_type in [(b"secret", PROTOBUF), (b"secret", ""), (b"secret" * 20_000, PROTOBUF)]:
        meaning = decode(a_message("telemetry", payload, content_type), registry)
        assert isinstance(meaning, Rejected)

        [letter] = Rejections().letters(meaning, 0)

        assert (letter.tenant, letter.reason, letter.count) == ("t", Reason.DEVICE_ERASED, 1)
        assert b"secret" not in letter.SerializeToString()
        assert b"box" not in letter.SerializeToString()


def test_an_erased_agent_may_say_that_its_spool_is_wiped_and_nothing_else() -> None:
    registry = a_registry(("t/box", a_box(state="erased", wipe=True)), (TOMBSTONE, ERASED))

    said = decode(
        a_message("reply", Reply(state=Reply.ERASED, reason="secret").SerializeToString()), registry
    )
    assert isinstance(said, Said)
    word = AgentReply.FromString(said.value)
    assert (word.tenant, word.device, word.reply) == ("t", "box", Reply(state=Reply.ERASED))

    for channel, payload in [
        ("reply", Reply(state=Reply.APPLIED, command_id="c").SerializeToString()),
        ("reply", b"\xff"),
        ("event", b""),
        ("status", b""),
    ]:
        meaning = decode(a_message(channel, payload), registry)
        assert isinstance(meaning, Rejected), channel
        assert meaning.reason == Reason.DEVICE_ERASED


def test_an_erased_agent_that_has_answered_is_not_heard_again() -> None:
    registry = a_registry(("t/box", a_box(state="erased")))

    meaning = decode(a_message("reply", Reply(state=Reply.ERASED).SerializeToString()), registry)

    assert isinstance(meaning, Rejected)


def test_nothing_of_an_erased_box_stays_retained_but_the_order_to_wipe() -> None:
    sent: dict[str, bytes] = {}
    forgotten: list[str] = []
    configs = Configs(
        Registry(),
        lambda tenant, device, payload: sent.update({f"{tenant}/{device}": payload}),
        lambda tenant, device: forgotten.append(f"{tenant}/{device}"),
    )

    configs.changed("t/box", Member("t", "box", 1, "erased", box="box", mode_epoch=5, wipe=True))
    configs.changed("t/sensor", Member("t", "sensor", 2, "erased"))

    assert Config.FromString(sent["t/box"]) == Config(mode="observe", mode_epoch=5, erase=True)
    assert sent["t/sensor"] == b""
    assert forgotten == ["t/box", "t/sensor"]

    configs.changed("t/box", Member("t", "box", 1, "erased", box="box", mode_epoch=5))
    assert sent["t/box"] == b""
