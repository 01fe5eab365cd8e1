"""A real Mosquitto is told who is out: live sessions count for nothing, tokens end, sessions are cut."""

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scripts.local import mosquitto as local_mosquitto
from scripts.local.ports import Ports
from scripts.local.process import spawn, wait_until
from scripts.local.stack import Stack
from services.provisioning.brokers.mosquitto import CRL_AGE, Mosquitto, running
from services.provisioning.brokers.wanted import Wanted
from services.provisioning.enrolment.authority import Revoked
from tests.fakes.certificates import serial_of
from tests.integration.broker_rig import (
    ALICE,
    BOB,
    GATEWAY,
    PATIENCE_S,
    REVOKED,
    Access,
    Client,
    Doors,
    client,
    context,
    doors_of,
    hears,
    is_refused,
    keeper_of,
    mosquitto_hash,
)

TELEMETRY = "devices/tenant-a/alice/telemetry"
FENCE = "devices/tenant-b/bob/event"


@pytest.fixture
def stack(home: Path) -> Iterator[Stack]:
    with Stack(home, Ports.free()) as own:
        own.start("mosquitto")
        yield own


@pytest.fixture
def doors(stack: Stack) -> Doors:
    return doors_of(stack)


@pytest.fixture
def broker(stack: Stack) -> Mosquitto:
    return keeper_of(stack)


def wanted(
    *, denied: tuple[str, ...] = (), tokens: dict[str, str] | None = None, revoked: tuple[str, ...] = ()
) -> Wanted:
    return Wanted(
        denied=denied,
        passwords=tuple((name, mosquitto_hash(token)) for name, token in sorted((tokens or {}).items())),
        revoked=tuple(Revoked(serial, datetime.now(UTC), "unspecified") for serial in revoked),
    )


def is_heard(gateway: Client, device: Client, other: Client) -> bool:
    return hears(gateway, device, TELEMETRY, (other, FENCE))


async def test_a_denied_device_counts_for_nothing_on_its_live_session_until_it_is_let_in_again(
    doors: Doors, broker: Mosquitto
) -> None:  # X18: revocation, layer 1
    with (
        client(doors.with_certificate(GATEWAY)) as gateway,
        client(doors.with_certificate(ALICE)) as device,
        client(doors.with_certificate(BOB)) as other,
    ):
        gateway.subscribe("devices/+/+/telemetry", "devices/+/+/event")
        assert is_heard(gateway, device, other)

        await broker.keep(wanted(denied=(ALICE,)), datetime.now(UTC))
        assert wait_until(lambda: not is_heard(gateway, device, other), PATIENCE_S)
        device.subscribe("devices/tenant-a/alice/cmd")
        gateway.publish("devices/tenant-a/alice/cmd", b"not for you")
        assert not is_heard(gateway, device, other)
        assert device.heard.empty()
        assert device.is_connected

        await broker.keep(wanted(), datetime.now(UTC))
        assert wait_until(lambda: is_heard(gateway, device, other), PATIENCE_S)


async def test_a_token_that_is_taken_back_ends_its_session_and_no_other(
    doors: Doors, broker: Mosquitto
) -> None:  # U-P08
    await broker.keep(wanted(tokens=doors.tokens), datetime.now(UTC))
    assert wait_until(lambda: not is_refused(doors.by("token", ALICE)), PATIENCE_S)
    with client(doors.by("token", ALICE)) as device, client(doors.by("token", BOB)) as other:
        await broker.keep(wanted(tokens={BOB: doors.tokens[BOB]}), datetime.now(UTC))

        assert wait_until(lambda: not device.is_connected, PATIENCE_S)
        assert wait_until(lambda: is_refused(doors.by("token", ALICE)), PATIENCE_S)
        assert other.is_connected


async def test_a_revoked_certificate_is_cut_and_cannot_come_back(doors: Doors, broker: Mosquitto) -> None:
    # X18: revocation, layers 2 and 3
    access = Access(doors.address("certificate"), REVOKED, context(doors.root, doors.revoked))
    with client(access) as device, client(doors.with_certificate(BOB)) as other:
        await broker.keep(wanted(revoked=(serial_of(doors.revoked),)), datetime.now(UTC))
        assert device.is_connected  # a CRL alone ends no session

        await broker.cut(REVOKED, datetime.now(UTC))

        assert wait_until(lambda: not device.is_connected, PATIENCE_S)
        assert is_refused(access)
        assert other.is_connected


async def test_a_broker_that_was_started_again_is_told_again(
    stack: Stack, doors: Doors, broker: Mosquitto
) -> None:
    denial = wanted(denied=(ALICE,))
    await broker.keep(denial, datetime.now(UTC))
    stack.kill_part("mosquitto")
    (local_mosquitto.directory(stack.home) / "acl").write_text(local_mosquitto.ACL.read_text())
    stack.start("mosquitto")
    pid_file = local_mosquitto.directory(stack.home) / "mosquitto.pid"
    assert wait_until(lambda: running(pid_file) is not None, PATIENCE_S)
    with (
        client(doors.with_certificate(GATEWAY)) as gateway,
        client(doors.with_certificate(ALICE)) as device,
        client(doors.with_certificate(BOB)) as other,
    ):
        gateway.subscribe("devices/+/+/telemetry", "devices/+/+/event")
        assert is_heard(gateway, device, other)

        await broker.keep(denial, datetime.now(UTC))

        assert wait_until(lambda: not is_heard(gateway, device, other), PATIENCE_S)


async def test_the_crl_is_signed_again_long_before_it_expires(stack: Stack, broker: Mosquitto) -> None:
    crl = local_mosquitto.directory(stack.home) / "crl.pem"
    now = datetime.now(UTC)
    await broker.keep(wanted(), now)
    first = crl.read_bytes()
    await broker.keep(wanted(), now + CRL_AGE / 2)
    assert crl.read_bytes() == first

    await broker.keep(wanted(), now + CRL_AGE + timedelta(seconds=1))

    assert crl.read_bytes() != first


async def test_files_are_written_also_while_the_broker_is_away(stack: Stack, broker: Mosquitto) -> None:
    stack.stop_part("mosquitto")

    await broker.keep(wanted(denied=(ALICE,)), datetime.now(UTC))

    assert f"user {ALICE}\ntopic deny #" in (local_mosquitto.directory(stack.home) / "acl").read_text()


def test_no_process_but_mosquitto_is_ever_told_to_read_again(tmp_path: Path) -> None:
    pid_file = tmp_path / "mosquitto.pid"
    other = spawn(["sleep", "60"], environment={}, directory=tmp_path, log_file=tmp_path / "log")
    try:
        pid_file.write_text(f"{other.pid}\n")
        assert running(pid_file) is None
        pid_file.write_text("4194999\n")
        assert running(pid_file) is None
        pid_file.write_text("")
        assert running(pid_file) is None
        assert running(tmp_path / "none") is None
    finally:
        os.kill(other.pid, signal.SIGKILL)
        assert wait_until(lambda: not other.is_alive, PATIENCE_S)
