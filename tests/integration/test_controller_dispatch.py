"""A dispatch from the api's call to verified power, on real PostgreSQL and Kafka."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from overwatt.split import AssetState, split
from overwatt.v1.agent_pb2 import Reply, Share
from tests.integration.controller_rig import Rig, a_rig, until

THREE = ("site-a-x", "site-a-y", "site-a-z")


@pytest.fixture
async def rig(database_url: str, kafka: str) -> AsyncIterator[Rig]:
    async with a_rig(database_url, kafka) as made:
        await made.has_site(x=120, y=40, z=40)
        await made.start()
        yield made


async def test_a_site_dispatch_is_split_by_capacity_and_goes_to_the_gateway_agent(rig: Rig) -> None:
    # D-025, D-026, H-031
    await rig.connect("site-a", *THREE)

    accepted = await rig.dispatch(site_id="site-a", mw=12)

    assert [each["mw"] for each in accepted["allocations"]] == pytest.approx([7.2, 2.4, 2.4])
    assert set(accepted["allocations"][0]) == {"asset_id", "raw", "clamped", "residual", "mw", "limited_by"}
    assert (accepted["state"], accepted["unplaced_mw"], accepted["unplaced_why"]) == ("accepted", 0, "")
    assert datetime.fromisoformat(accepted["expires_at"]) > datetime.now(UTC)
    (command,) = (await rig.published(accepted))[:1]
    assert (command.device, command.site, command.asset, command.power_mw) == ("site-a", "site-a", "", 12)
    assert command.capability == "battery"


async def test_an_asset_dispatch_concerns_that_asset_alone_even_with_both_ids(rig: Rig) -> None:
    # D-024, D-027
    await rig.connect("site-a", *THREE)

    accepted = await rig.dispatch(asset_id="site-a-y", site_id="site-a", mw=5, duration_s=60)

    assert (accepted["asset_id"], accepted["site_id"]) == ("site-a-y", None)
    assert [(each["asset_id"], each["mw"]) for each in accepted["allocations"]] == [("site-a-y", 5)]
    command = (await rig.published(accepted))[0]
    assert (command.device, command.site, command.asset, command.duration_s) == ("site-a", "", "site-a-y", 60)
    assert {each.asset for each in rig.commands} == {"site-a-y"}


async def test_single_asset_agents_get_their_shares_from_the_controller(rig: Rig) -> None:  # X9
    for asset in THREE:
        await rig.connect(asset, asset, boot=asset)

    accepted = await rig.dispatch(site_id="site-a", mw=12)

    commands = {c.device: c for c in await rig.published(accepted, 3)}
    assert {device: c.power_mw for device, c in commands.items()} == pytest.approx(
        {"site-a-x": 7.2, "site-a-y": 2.4, "site-a-z": 2.4}
    )
    for command in commands.values():
        await rig.reply(command, Reply.VERIFIED, Share(asset=command.asset, power_mw=command.power_mw))
    verified = await rig.becomes(accepted, "verified")
    assert [each["asset_id"] for each in json.loads(verified["result"])["allocations"]] == list(THREE)


async def test_a_command_is_repeated_until_the_agent_answers(rig: Rig) -> None:
    await rig.connect("site-a", *THREE)
    accepted = await rig.dispatch(site_id="site-a", mw=12)

    first, second, third = (await rig.published(accepted, 3))[:3]
    assert first == second == third

    await rig.reply(first, Reply.APPLIED)
    await rig.becomes(accepted, "applied")
    count = await rig.db.fetchval(
        "select published_count from command where dispatch_id = $1", accepted["dispatch_id"]
    )
    # The next dispatch goes through the same outbox, twice: nothing of the first comes with it.
    await rig.published(await rig.dispatch(asset_id="site-a-x", mw=1), 2)
    assert len(await rig.published(accepted)) == count


async def test_replies_lead_to_verified_with_what_was_measured_in_whatever_order(rig: Rig) -> None:
    # D-026, D-029: the agent's split is the one of record
    await rig.connect("site-a", *THREE)
    accepted = await rig.dispatch(site_id="site-a", mw=2)
    command = (await rig.published(accepted))[0]
    share = Share(
        asset="site-a-x", raw_mw=1.2, clamped_mw=1.0, residual_mw=0.5, power_mw=1.5, measured_mw=1.49
    )

    await rig.reply(command, Reply.VERIFIED, share)
    await rig.reply(command, Reply.APPLIED, share)
    await rig.reply(command, Reply.VERIFIED, share)

    async def replies() -> list[str]:
        rows = await rig.db.fetch("select state from command_replies where command_id = $1", command.id)
        return sorted(row["state"] for row in rows) if len(rows) == 2 else []

    assert await until("both words are kept", replies) == ["applied", "verified"]
    verified = await rig.becomes(accepted, "verified")
    assert json.loads(verified["result"])["allocations"] == [
        {
            "asset_id": "site-a-x",
            "raw": 1.2,
            "clamped": 1.0,
            "residual": 0.5,
            "mw": 1.5,
            "measured": 1.49,
            "limited_by": "",
        }
    ]


@pytest.mark.parametrize(
    ("reply", "state"),
    [(Reply.NOT_FOLLOWING, "not_following"), (Reply.REJECTED, "rejected"), (Reply.EXPIRED, "expired")],
)
async def test_a_command_that_did_not_work_says_why(
    rig: Rig, reply: "Reply.State.ValueType", state: str
) -> None:
    await rig.connect("site-a", *THREE)
    accepted = await rig.dispatch(site_id="site-a", mw=12)

    await rig.reply((await rig.published(accepted))[0], reply, reason="because")

    assert (await rig.becomes(accepted, state))["reason"] == "because"


async def test_the_gateways_refusal_ends_a_command(rig: Rig) -> None:
    await rig.connect("site-a", *THREE)
    accepted = await rig.dispatch(site_id="site-a", mw=12)

    await rig.reply(
        (await rig.published(accepted))[0], Reply.REJECTED, reason="MODE_OBSERVE", from_gateway=True
    )

    assert (await rig.becomes(accepted, "rejected"))["reason"] == "MODE_OBSERVE"


async def test_nobody_answers_for_the_agent_of_another(rig: Rig) -> None:
    await rig.connect("site-a", *THREE)
    accepted = await rig.dispatch(site_id="site-a", mw=12)
    command = (await rig.published(accepted))[0]

    await rig.reply(command, Reply.VERIFIED, device="intruder")
    await rig.reply(command, Reply.APPLIED)

    await rig.becomes(accepted, "applied")  # the intruder's word was handled before, and did not count


async def test_an_unanswered_dispatch_expires_and_says_that_nobody_replied(rig: Rig) -> None:
    await rig.connect("site-a", *THREE)

    accepted = await rig.dispatch(site_id="site-a", mw=12, ttl_s=1.5)

    expired = await rig.becomes(accepted, "expired")
    assert expired["reason"] == f"no reply from agent {rig.tenant}/site-a"
    assert rig.commands  # it was published at once, not at the next look around


async def test_a_dispatch_to_an_offline_agent_waits_and_is_published_on_connect(rig: Rig) -> None:  # U-D09
    accepted = await rig.dispatch(site_id="site-a", mw=12, ttl_s=10)
    assert [each["mw"] for each in accepted["allocations"]] == pytest.approx([7.2, 2.4, 2.4])
    assert rig.commands == []

    await rig.connect("site-a", *THREE)

    assert (await rig.published(accepted))[0].power_mw == 12


async def test_a_dispatch_to_an_agent_that_stays_away_expires_unpublished(rig: Rig) -> None:
    never = await rig.dispatch(site_id="site-a", mw=12, ttl_s=0.5)
    assert (await rig.becomes(never, "expired"))["reason"] == f"agent {rig.tenant}/site-a has never connected"

    await rig.connect("site-a", *THREE)
    await rig.status(3, "boot")  # GONE

    async def is_gone() -> bool:
        return not await rig.sessions(only_open=True)

    await until("the agent is gone", is_gone)
    gone = await rig.dispatch(site_id="site-a", mw=12, ttl_s=0.5)
    assert "offline since 20" in (await rig.becomes(gone, "expired"))["reason"]
    assert rig.commands == []


async def test_a_newer_dispatch_supersedes_what_runs_at_the_same_place(rig: Rig) -> None:
    await rig.connect("site-a", *THREE)
    site = await rig.dispatch(site_id="site-a", mw=12)
    await rig.reply((await rig.published(site))[0], Reply.APPLIED)
    await rig.becomes(site, "applied")

    asset = await rig.dispatch(asset_id="site-a-x", mw=5)
    assert (await rig.row(site))["state"] == "applied"  # the other assets still follow it

    newer = await rig.dispatch(site_id="site-a", mw=6)
    for older in (site, asset):
        row = await rig.row(older)
        assert row["state"] == "superseded"
        assert row["reason"] == f"superseded by dispatch {newer['dispatch_id']}"

    await rig.published(newer)
    await rig.reply((await rig.published(site))[0], Reply.VERIFIED)
    await rig.reply((await rig.published(newer))[0], Reply.VERIFIED)
    await rig.becomes(newer, "verified")
    late = await rig.row(site)
    assert (late["state"], late["reason"]) == ("superseded", f"superseded by dispatch {newer['dispatch_id']}")


async def test_an_order_for_one_asset_waits_for_the_older_order_for_the_site(rig: Rig) -> None:
    await rig.connect("site-a", *THREE)
    site = await rig.dispatch(site_id="site-a", mw=12)
    asset = await rig.dispatch(asset_id="site-a-x", mw=5)

    await rig.published(site, 2)
    assert {command.dispatch_id for command in rig.commands} == {site["dispatch_id"]}

    await rig.reply(rig.commands[0], Reply.APPLIED)
    assert (await rig.published(asset))[0].asset == "site-a-x"


async def test_it_goes_on_where_it_was_killed(rig: Rig) -> None:
    await rig.connect("site-a", *THREE)
    answered = await rig.dispatch(site_id="site-a", mw=12)
    command = (await rig.published(answered))[0]
    offline = await rig.dispatch(asset_id="site-a-z", mw=3)

    await rig.kill()
    await rig.reply(command, Reply.APPLIED)
    await rig.reply(command, Reply.VERIFIED)
    await rig.start()

    await rig.becomes(answered, "verified")
    assert (await rig.published(offline))[0].asset == "site-a-z"
    assert len(await rig.sessions(only_open=True)) == 1


async def test_it_sends_again_after_a_restart_what_nobody_answered(rig: Rig) -> None:
    await rig.connect("site-a", *THREE)
    accepted = await rig.dispatch(site_id="site-a", mw=12)
    before = await rig.published(accepted)

    await rig.kill()
    count = len(rig.commands)
    await rig.start()

    assert (await rig.published(accepted, count + 1))[-1] == before[0]


async def test_a_decision_can_be_computed_again_from_its_row(rig: Rig) -> None:
    await rig.connect("site-a", *THREE)
    accepted = await rig.dispatch(site_id="site-a", mw=150)

    row = await rig.db.fetchrow(
        "select * from controller_decisions where dispatch_id = $1", accepted["dispatch_id"]
    )
    inputs = json.loads(row["inputs"])
    again = split(inputs["order"]["power_mw"], [AssetState(**state) for state in inputs["assets"]])
    shares = json.loads(row["shares"])

    assert [share.power_mw for share in again.shares] == [share["mw"] for share in shares]
    assert row["box_id"] == rig.box("site-a")
    assert inputs["boxes"][0]["mode"] == "active"
    assert json.loads(row["constraints"])[-1]["unplaced_mw"] == accepted["unplaced_mw"] == 50
    assert {each["limited_by"] for each in json.loads(row["constraints"])[:-1]} == {"max_mw"}


async def test_an_observing_box_and_a_closed_capability_are_409_and_named(rig: Rig) -> None:  # H-032
    await rig.has_site("site-b", mode="observe", x=40)
    await rig.has_site("site-c", opt_ins=("pv",), x=40)
    count = await rig.db.fetchval("select count(*) from command where tenant_id = $1", rig.tenant)

    observing = await rig.post({"site_id": "site-b", "mw": 1})
    closed = await rig.post({"asset_id": "site-c-x", "mw": 1})

    assert observing.status_code == closed.status_code == 409
    assert observing.json()["reason"] == "MODE_OBSERVE"
    assert observing.json()["box"] == rig.box("site-b")
    assert rig.box("site-b") in observing.json()["detail"]
    assert (closed.json()["reason"], closed.json()["capability"]) == ("CAPABILITY_CLOSED", "battery")
    assert rig.box("site-c") in closed.json()["detail"]
    assert count == await rig.db.fetchval("select count(*) from command where tenant_id = $1", rig.tenant)


async def test_a_flip_to_observe_counts_from_the_next_call(rig: Rig) -> None:
    await rig.dispatch(site_id="site-a", mw=1)

    await rig.db.execute("update box set mode = 'observe' where tenant_id = $1", rig.tenant)

    assert (await rig.post({"site_id": "site-a", "mw": 1})).status_code == 409


async def test_what_does_not_exist_in_this_tenant_is_404(rig: Rig) -> None:  # D-035
    for body in ({"asset_id": "no-such"}, {"site_id": "no-such"}, {"asset_id": "NUL\0"}, {"site_id": "+"}):
        assert (await rig.post(body | {"mw": 1})).status_code == 404, body
    assert (await rig.post({"site_id": "site-a", "mw": 1}, **{"X-Tenant": "other"})).status_code == 404


NO_DISPATCHES = (
    '{"mw": 5}',
    '{"asset_id": "", "site_id": null, "mw": 5}',
    '{"site_id": "site-a"}',
    '{"site_id": "site-a", "mw": NaN}',
    '{"site_id": "site-a", "mw": Infinity}',
    '{"site_id": "site-a", "mw": -1e999}',
    '{"site_id": "site-a", "mw": "5"}',
    '{"site_id": "site-a", "mw": true}',
    '{"site_id": "site-a", "mw": 5, "ttl_s": 0}',
    '{"site_id": "site-a", "mw": 5, "duration_s": -1}',
    '{"site_id": "site-a", "mw": 5, "durations": 10}',
    '{"site_id": 7, "mw": 5}',
    "[]",
    "not json",
)


async def test_what_cannot_be_a_dispatch_is_422_and_says_what_is_wrong(rig: Rig) -> None:  # D-035
    answers = {body: await rig.post(body) for body in NO_DISPATCHES}

    assert {body: answer.status_code for body, answer in answers.items()} == dict.fromkeys(NO_DISPATCHES, 422)
    assert all(answer.json()["detail"] for answer in answers.values())
    assert answers[NO_DISPATCHES[3]].json()["detail"].startswith("mw: ")
    assert await rig.db.fetchval("select count(*) from dispatch where tenant_id = $1", rig.tenant) == 0


async def test_the_preview_knows_the_newest_state_of_charge(rig: Rig) -> None:
    await rig.connect("site-a", *THREE)

    await rig.db.execute(
        """update asset set details = '{"min_soc_pct": 10}' where tenant_id = $1""", rig.tenant
    )

    async def empty_battery_is_known() -> dict[str, float] | None:
        await rig.sample("site-a", "site-a-x", soc_pct=9.9)
        answer = await rig.dispatch(site_id="site-a", mw=12)
        shares = {each["asset_id"]: each["mw"] for each in answer["allocations"]}
        return shares if answer["allocations"][0]["limited_by"] == "soc_min_pct" else None

    shares = await until("the preview spares the empty battery", empty_battery_is_known)
    assert shares == pytest.approx({"site-a-x": 0, "site-a-y": 6, "site-a-z": 6})
