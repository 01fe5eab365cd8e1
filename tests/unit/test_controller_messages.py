"""What agents write is made fit to store, or is refused with a sentence."""

import math
from uuid import uuid4

import pytest

from overwatt.v1.agent_pb2 import AgentReply, AgentStatus, AssetInfo, Command, Reply, Share, Status
from services.controller.messages import command_to_wire, heard_from_wire, reply_from_wire
from services.controller.model import Order, PlannedCommand
from services.controller.sessions import Kind
from services.runtime.clock import from_us
from services.runtime.errors import Invalid

SEEN_US = 1_795_000_000_000_000


def an_order(site_id: str | None) -> Order:
    return Order(
        tenant_id="tenant-a",
        asset_id=None if site_id else "a",
        site_id=site_id,
        power_mw=12.0,
        duration_s=None,
        ttl_s=60.0,
        requested_by="user",
    )


def test_a_birth_becomes_a_session_seen_when_the_gateway_received_it() -> None:
    status = Status(
        kind=Status.BIRTH,
        at_us=77,
        boot_id="boot-1",
        site="site-a",
        site_name="Site\0A",
        assets=[AssetInfo(id="a"), AssetInfo(id="b")],
    )

    heard = heard_from_wire(
        AgentStatus(tenant="tenant-a", device="site-a", status=status, received_at_us=SEEN_US)
    )

    assert heard.kind is Kind.BIRTH
    assert heard.session.assets == ("a", "b")
    assert heard.session.site_name == "SiteA"
    assert (heard.session.birth_at_us, heard.session.connected_at) == (77, from_us(SEEN_US))


@pytest.mark.parametrize("status", [Status(kind=Status.BIRTH), Status(boot_id="boot-1")])
def test_a_status_without_kind_or_boot_id_is_refused(status: Status) -> None:
    with pytest.raises(Invalid, match="tenant-a/site-a"):
        heard_from_wire(AgentStatus(tenant="tenant-a", device="site-a", status=status))


def test_a_reply_keeps_no_number_that_json_cannot_hold() -> None:
    reply = Reply(
        command_id=str(uuid4()),
        state=Reply.VERIFIED,
        at_us=2**62,
        unplaced_mw=math.nan,
        shares=[Share(asset="a", power_mw=5, measured_mw=math.inf)],
    )

    known = reply_from_wire(AgentReply(tenant="t", device="d", reply=reply, received_at_us=SEEN_US))

    assert known.at == known.received_at == from_us(SEEN_US)
    assert known.unplaced_mw == 0
    assert known.allocations[0]["mw"] == 5
    assert known.allocations[0]["measured"] is None


@pytest.mark.parametrize(
    "reply", [Reply(command_id="no", state=Reply.APPLIED), Reply(command_id=str(uuid4()))]
)
def test_a_reply_to_nothing_or_without_a_state_is_refused(reply: Reply) -> None:
    with pytest.raises(Invalid, match="reply of t/d"):
        reply_from_wire(AgentReply(tenant="t", device="d", reply=reply, received_at_us=SEEN_US))


@pytest.mark.parametrize(
    ("planned", "order", "expected"),
    [
        (PlannedCommand("site-a", "box", None, 12.0, 4), an_order("site-a"), ("site-a", "")),
        (PlannedCommand("a", "box", "a", 7.2), an_order("site-a"), ("", "a")),
        (PlannedCommand("site-a", "box", "a", 12.0), an_order(None), ("", "a")),
    ],
)
def test_a_command_names_the_site_or_the_asset_and_never_both(  # D-027
    planned: PlannedCommand, order: Order, expected: tuple[str, str]
) -> None:
    payload = command_to_wire(uuid4(), uuid4(), order, planned, SEEN_US, SEEN_US + 60_000_000)

    command = Command.FromString(payload)
    assert (command.site, command.asset) == expected
    assert (command.power_mw, command.capability) == (planned.power_mw, "battery")
    assert command.mode_epoch == planned.mode_epoch
    assert command.expires_at_us - command.issued_at_us == 60_000_000
