"""Who may publish and hear what, asked of a real broker: delivered or not, never what it answered.

The same cases in three ways: with a certificate (8883), with a token (8884), and by name alone (1883, on
loopback in development only). On Mosquitto a forbidden SUBSCRIBE is granted and then delivers nothing, so
only delivery counts. Against another broker with the same rules, such as EMQX:

    BROKER=host:port AUTHORITY_DIR=...                 by name alone
    BROKER_TLS=host:port AUTHORITY_DIR=... [BROKER_ROOT=root.pem] [CRL_URL=...]    with our certificates
    BROKER_TOKEN=host:port                             and TOKENS=file of `<tenant>/<device> <token>` lines
"""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scripts.local.process import wait_until
from scripts.local.stack import Stack
from services.provisioning.brokers.wanted import Wanted
from services.provisioning.enrolment.authority import Revoked
from tests.fakes.certificates import Issuer, context, serial_of
from tests.integration.broker_rig import (
    ALICE,
    BOB,
    GATEWAY,
    PATIENCE_S,
    REVOKED,
    WAYS,
    Access,
    Doors,
    client,
    doors_of,
    hears,
    is_refused,
    keeper_of,
    mosquitto_hash,
)


@pytest.fixture(scope="module")
def doors(request: pytest.FixtureRequest) -> Doors:
    variables = {"name": "BROKER", "certificate": "BROKER_TLS", "token": "BROKER_TOKEN"}
    given = {way: os.environ[name] for way, name in variables.items() if name in os.environ}
    if given:
        return elsewhere(given)
    stack: Stack = request.getfixturevalue("stack")
    stack.start("mosquitto")
    made = doors_of(stack)
    tell(stack, made)
    return made


def elsewhere(given: dict[str, str]) -> Doors:
    """A broker that somebody else runs with the same rules."""
    authority = Path(os.environ["AUTHORITY_DIR"])
    split = {way: address.rpartition(":") for way, address in given.items()}
    made = Doors(
        authority=authority,
        root=Path(os.environ.get("BROKER_ROOT", authority / "root.pem")),
        addresses={way: (host, int(port)) for way, (host, _, port) in split.items()},
    )
    if "TOKENS" in os.environ:
        lines = Path(os.environ["TOKENS"]).read_text().splitlines()
        made.tokens = dict(line.split(maxsplit=1) for line in lines)
    return made


def tell(stack: Stack, doors: Doors) -> None:
    """Mosquitto knows tokens and what is revoked, from the keeper's own hand."""
    now = datetime.now(UTC)
    wanted = Wanted(
        denied=(),
        passwords=tuple((name, mosquitto_hash(token)) for name, token in sorted(doors.tokens.items())),
        revoked=(Revoked(serial_of(doors.revoked), now, "key_compromise"),),
    )
    asyncio.run(keeper_of(stack).keep(wanted, now))
    assert wait_until(lambda: not is_refused(doors.by("token", ALICE)), PATIENCE_S)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("topic", "is_delivered"),
    [
        ("devices/tenant-a/alice/telemetry", True),
        ("devices/tenant-a/alice/status", True),
        ("devices/tenant-a/alice/reply", True),
        ("devices/tenant-a/alice/event", True),
        ("devices/tenant-a/bob/telemetry", False),
        ("devices/tenant-b/bob/telemetry", False),
        ("devices/tenant-b/alice/status", False),
        ("devices/tenant-b/bob/reply", False),
        ("devices/tenant-a/alice/other", False),
        ("devices/tenant-a/alice/telemetry/deeper", False),
        ("tenant-a/alice/telemetry", False),
    ],
)
def test_the_gateway_hears_a_device_on_its_own_topics_only(
    doors: Doors, way: str, topic: str, is_delivered: bool
) -> None:  # P-033, U-P07: foreign topics are not delivered; a certificate of one tenant on another's topics
    with (
        client(doors.by(way, GATEWAY)) as gateway,
        client(doors.by(way, ALICE)) as device,
        client(doors.by(way, BOB)) as other,
    ):
        gateway.subscribe(
            *(f"devices/+/+/{channel}" for channel in ("telemetry", "status", "reply", "event"))
        )
        fence = (other, "devices/tenant-b/bob/event")
        assert hears(gateway, device, topic, fence) is is_delivered


@pytest.mark.parametrize(
    ("channel", "is_delivered"), [("telemetry", True), ("status", False), ("reply", False)]
)
def test_without_a_name_only_telemetry_arrives_and_only_in_development(
    doors: Doors, channel: str, is_delivered: bool
) -> None:  # a hand-typed mosquitto_pub
    with (
        client(doors.by("name", GATEWAY)) as gateway,
        client(doors.by("name", "")) as nameless,
        client(doors.by("name", BOB)) as other,
    ):
        gateway.subscribe("devices/+/+/telemetry", "devices/+/+/status", "devices/+/+/reply")
        fence = (other, "devices/tenant-b/bob/telemetry")
        assert hears(gateway, nameless, f"devices/tenant-a/alice/{channel}", fence) is is_delivered


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("filter_", "topic", "is_delivered"),
    [
        ("devices/tenant-a/alice/cmd", "devices/tenant-a/alice/cmd", True),
        ("devices/tenant-a/alice/ack", "devices/tenant-a/alice/ack", True),
        ("devices/tenant-a/alice/config", "devices/tenant-a/alice/config", True),
        ("devices/tenant-b/bob/cmd", "devices/tenant-b/bob/cmd", False),
        ("devices/+/+/cmd", "devices/tenant-b/bob/cmd", False),
        ("devices/+/+/ack", "devices/tenant-b/bob/ack", False),
        ("#", "devices/tenant-b/bob/config", False),
        ("devices/#", "devices/tenant-b/bob/cmd", False),
    ],
)
def test_a_device_hears_what_is_for_it_and_no_wildcard_helps(
    doors: Doors, way: str, filter_: str, topic: str, is_delivered: bool
) -> None:  # two tenants: no topic shows the other's data
    with client(doors.by(way, ALICE)) as device, client(doors.by(way, GATEWAY)) as gateway:
        device.subscribe(filter_, "devices/tenant-a/alice/config")
        fence = (gateway, "devices/tenant-a/alice/config")
        assert hears(device, gateway, topic, fence) is is_delivered


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("filter_", ["devices/tenant-b/bob/telemetry", "devices/+/+/telemetry", "#"])
def test_a_device_never_hears_another_tenants_telemetry(doors: Doors, way: str, filter_: str) -> None:
    with (
        client(doors.by(way, ALICE)) as device,
        client(doors.by(way, BOB)) as other,
        client(doors.by(way, GATEWAY)) as gateway,
    ):
        device.subscribe(filter_, "devices/tenant-a/alice/config")
        fence = (gateway, "devices/tenant-a/alice/config")
        assert not hears(device, other, "devices/tenant-b/bob/telemetry", fence)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("channel", ["cmd", "ack", "config"])
def test_only_the_gateway_speaks_to_devices(doors: Doors, way: str, channel: str) -> None:
    with (
        client(doors.by(way, ALICE)) as device,
        client(doors.by(way, BOB)) as other,
        client(doors.by(way, GATEWAY)) as gateway,
    ):
        device.subscribe(f"devices/tenant-a/alice/{channel}", "devices/tenant-a/alice/config")
        fence = (gateway, "devices/tenant-a/alice/config")
        assert not hears(device, other, f"devices/tenant-a/alice/{channel}", fence)
        assert not hears(device, device, f"devices/tenant-a/alice/{channel}", fence)


@pytest.mark.parametrize("way", ["certificate", "token"])
def test_a_stolen_client_id_ends_nobodys_session(doors: Doors, way: str) -> None:
    thief = (
        doors.with_certificate(BOB, client_id=ALICE)
        if way == "certificate"
        else doors.with_token(BOB, doors.tokens[BOB], client_id=ALICE)
    )
    with client(doors.by(way, ALICE)) as device, client(doors.by(way, GATEWAY)) as gateway:
        device.subscribe("devices/tenant-a/alice/config")
        with client(thief) as other:
            fence = (gateway, "devices/tenant-a/alice/config")
            assert not hears(device, other, "devices/tenant-a/alice/config", fence)
            assert device.is_connected
        assert device.is_connected


def test_a_user_name_beside_a_certificate_counts_for_nothing(doors: Doors) -> None:
    thief = doors.with_certificate(BOB, user=GATEWAY)
    with (
        client(doors.with_certificate(ALICE)) as device,
        client(doors.with_certificate(GATEWAY)) as gateway,
        client(thief) as other,
    ):
        device.subscribe("devices/tenant-a/alice/cmd", "devices/tenant-a/alice/config")
        fence = (gateway, "devices/tenant-a/alice/config")
        assert not hears(device, other, "devices/tenant-a/alice/cmd", fence)


@pytest.mark.parametrize(
    "name", ["tenant-a/#", "+/+", "#", "tenant-a/+", "$SYS/broker", "tenant-a/alice/deeper", "tenant-a"]
)
def test_a_certificate_of_a_dangerous_name_gives_nothing(doors: Doors, name: str) -> None:
    # Our authority refuses such a name; this is what happens if one gets out nevertheless.
    access = doors.with_certificate(name)
    if is_refused(access):
        return
    with (
        client(doors.with_certificate(GATEWAY)) as gateway,
        client(doors.with_certificate(BOB)) as other,
        client(access) as stranger,
    ):
        gateway.subscribe("devices/+/+/telemetry", "devices/+/+/event")
        fence = (other, "devices/tenant-b/bob/event")
        assert not hears(gateway, stranger, "devices/tenant-a/alice/telemetry", fence)
        stranger.subscribe("#", "devices/+/+/cmd")
        gateway.publish("devices/tenant-a/alice/cmd", b"secret")
        gateway.publish("devices/tenant-b/bob/cmd", b"secret")
        assert not hears(gateway, stranger, "devices/tenant-b/bob/telemetry", fence)  # a fence in time
        assert stranger.heard.empty()


@pytest.mark.parametrize(
    "times",
    [
        {"begins": timedelta(days=-2), "ends": timedelta(days=-1)},
        {"begins": timedelta(days=1), "ends": timedelta(days=2)},
    ],
    ids=["expired", "not yet valid"],
)
def test_a_certificate_out_of_its_time_is_refused(doors: Doors, times: dict[str, timedelta]) -> None:
    assert is_refused(doors.with_certificate(ALICE, **times))


def test_a_certificate_of_a_foreign_authority_is_refused(doors: Doors) -> None:
    ours = doors.with_certificate(ALICE)
    foreign = Access(ours.address, ALICE, context(doors.root, Issuer.foreign().sign(ALICE)))

    assert not is_refused(ours)
    assert is_refused(foreign)


@pytest.mark.skipif("BROKER_TLS" in os.environ, reason="its list of what is revoked is not ours to write")
def test_a_revoked_certificate_is_refused(doors: Doors) -> None:
    access = Access(doors.address("certificate"), REVOKED, context(doors.root, doors.revoked))

    assert is_refused(access)
    assert not is_refused(doors.with_certificate(REVOKED))  # a new one of the same name


@pytest.mark.parametrize("user", [ALICE, GATEWAY, ""])
def test_without_a_certificate_nobody_gets_in_on_8883(doors: Doors, user: str) -> None:
    assert is_refused(Access(doors.address("certificate"), user, doors.tls()))
    assert is_refused(Access(doors.address("certificate"), user))  # not even TLS


@pytest.mark.parametrize(
    "name", ["tenant-a/#", "+/+", "#", "$SYS/broker", "tenant-a/alice/deeper", "tenant-a/alice\n"]
)
def test_a_dangerous_user_name_has_no_token(doors: Doors, name: str) -> None:
    assert is_refused(doors.with_token(name, doors.tokens[ALICE]))


def test_a_token_is_of_one_device_and_there_is_no_other_way_in_on_8884(doors: Doors) -> None:
    assert not is_refused(doors.with_token(ALICE, doors.tokens[ALICE]))
    assert is_refused(doors.with_token(ALICE, doors.tokens[BOB]))
    assert is_refused(doors.with_token(ALICE, ""))
    assert is_refused(doors.with_token(GATEWAY, doors.tokens[ALICE]))
    assert is_refused(Access(doors.address("token"), ALICE, doors.tls()))
    assert is_refused(Access(doors.address("token"), "", doors.tls()))
    assert is_refused(Access(doors.address("token"), ALICE, password=doors.tokens[ALICE]))  # not even TLS
