"""The agent as a program against a real broker; the cloud is played by tests/fakes/agent_cloud.py."""

import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edge_agent.clock import kept_by_ntp
from overwatt.v1.agent_pb2 import Reply, Status
from scripts.local.mosquitto import binary as mosquitto_program
from scripts.local.ports import free_ports
from tests.fakes.agent_cloud import Cloud, cloud_for, until
from tests.integration.agent_rig import ROOT, AgentProcess, running


class Broker:
    """A Mosquitto of a test's own, to be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.address: tuple[str, int] = ("127.0.0.1", free_ports(1)[0])
        self._config = folder / "mosquitto.conf"
        self._config.write_text(f"listener {self.address[1]} 127.0.0.1\nallow_anonymous true\n")
        self._config.chmod(0o644)
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        self._launch()
        await until(self._listens, what="mosquitto listens")

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def _launch(self) -> None:
        command = [mosquitto_program(), "-c", str(self._config)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(self.address) == 0


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    own = Broker(tmp_path)
    await own.start()
    yield own
    own.stop()


@asynccontextmanager
async def an_agent(
    folder: Path, site: str, address: tuple[str, int], **env: str
) -> AsyncIterator[tuple[AgentProcess, Cloud]]:
    async with cloud_for(address, "default", site) as cloud:
        with running(AgentProcess(folder, site, address, **env)) as agent:
            yield agent, cloud


async def test_birth_registers_the_site_with_its_assets_and_the_spool(
    tmp_path: Path, mosquitto: tuple[str, int]
) -> None:
    """D-013, D-014, D-038: one process, three assets, a telemetry stream of each."""
    async with an_agent(tmp_path, "birth", mosquitto) as (agent, cloud):
        await until(lambda: {each.asset for each in cloud.samples} == {"birth-1", "birth-2", "birth-3"})
        (birth,) = cloud.statuses

        assert (birth.kind, birth.site, birth.site_name) == (Status.BIRTH, "birth", "Battery park")
        assert [asset.id for asset in birth.assets] == ["birth-1", "birth-2", "birth-3"]
        assert (birth.assets[0].capacity_mwh, birth.assets[0].min_mw) == (120, -60)
        assert birth.agent_mode == "gateway"
        assert {each.epoch for each in birth.spool_epochs} == {cloud.samples[0].epoch}
        assert cloud.content_types == {"application/x-protobuf"}

        assert agent.stop() == 0
        await until(lambda: cloud.kinds()[-1] == Status.GONE)
        assert cloud.statuses[-1].boot_id == birth.boot_id


async def test_a_killed_agent_leaves_its_will(tmp_path: Path, mosquitto: tuple[str, int]) -> None:
    async with an_agent(tmp_path, "will", mosquitto) as (agent, cloud):
        await until(lambda: cloud.statuses)

        agent.kill()

        await until(lambda: cloud.kinds()[-1] == Status.GONE)


async def test_what_is_acknowledged_is_deleted_and_nothing_else(
    tmp_path: Path, mosquitto: tuple[str, int]
) -> None:
    async with an_agent(tmp_path, "acked", mosquitto) as (agent, cloud):
        await until(lambda: len(cloud.samples) >= 12)
        epoch = cloud.samples[0].epoch
        cloud.commit(epoch, [(1, 4), (7, 9)])
        await until(lambda: len(cloud.samples) >= 18)
        agent.stop()

    kept = {seq for _, seq in agent.spooled()}
    assert not kept & {1, 2, 3, 4, 7, 8, 9}
    assert {5, 6, 10, 11, 12} <= kept


async def test_a_final_refusal_is_deleted_and_a_later_one_comes_again(
    tmp_path: Path, mosquitto: tuple[str, int]
) -> None:
    async with an_agent(tmp_path, "refused", mosquitto) as (agent, cloud):
        await until(lambda: len(cloud.samples) >= 6)
        epoch = cloud.samples[0].epoch
        cloud.refuse(epoch, [(1, 2)], "MALFORMED", final=True)
        cloud.refuse(epoch, [(3, 4)], "DEVICE_UNKNOWN", final=False, retry_after_s=1)

        def seqs() -> list[int]:
            return [each.seq for each in cloud.samples]

        await until(lambda: (seqs().count(3), seqs().count(4)) == (2, 2))
        agent.stop()

    assert (seqs().count(1), seqs().count(2)) == (1, 1)
    kept = {seq for _, seq in agent.spooled()}
    assert {3, 4} <= kept
    assert not kept & {1, 2}


async def test_a_killed_agent_loses_nothing_that_it_spooled(
    tmp_path: Path, mosquitto: tuple[str, int]
) -> None:
    async with an_agent(tmp_path, "killed", mosquitto) as (agent, cloud):
        await until(lambda: len(cloud.samples) >= 10)
        agent.kill()
        await until(lambda: cloud.kinds()[-1] == Status.GONE)  # what it had sent has arrived by then
        spooled = agent.spooled()
        (epoch,) = {epoch for epoch, _ in spooled}
        lowest = min(seq for _, seq in spooled)
        cloud.samples.clear()
        cloud.acknowledges = True

        agent.start()

        await until(lambda: spooled <= {(each.epoch, each.seq) for each in cloud.samples})
        births = [each for each in cloud.statuses if each.kind == Status.BIRTH]
        assert {each.epoch: each.lowest_seq for each in births[-1].spool_epochs}[epoch] == lowest
        assert len({each.boot_id for each in births}) == 2
        sent = [(each.epoch, each.seq) for each in cloud.samples]
        assert all(sent.count(key) == 1 for key in spooled)
        agent.stop()

    assert not agent.spooled() & spooled


async def test_without_a_broker_the_agent_spools_and_says_where_it_tries(
    tmp_path: Path, broker: Broker
) -> None:
    """D-002, D-030: host and port in every failed connect."""
    async with an_agent(tmp_path, "alone", broker.address) as (agent, cloud):
        cloud.acknowledges = True
        await until(lambda: cloud.samples)
        broker.stop()
        failed = await until(lambda: [e for e in agent.lines("not connected") if "refused" in e["reason"]])
        assert failed[0]["target"] == f"127.0.0.1:{broker.address[1]}"
        cloud.samples.clear()

        await broker.start()

        async with cloud_for(broker.address, "default", "alone") as again:
            again.acknowledges = True
            await until(lambda: len(again.samples) > 20)
            keys = {(each.epoch, each.seq) for each in cloud.samples + again.samples}
            last = max(seq for _, seq in keys)
            first = min(seq for _, seq in keys)
            await until(
                lambda: {each.seq for each in cloud.samples + again.samples} >= set(range(first, last + 1))
            )


async def test_a_site_dispatch_is_split_logged_written_and_verified(
    tmp_path: Path, mosquitto: tuple[str, int]
) -> None:
    """D-026, D-029, U-D01."""
    async with an_agent(tmp_path, "split", mosquitto) as (agent, cloud):
        await until(lambda: len({each.asset for each in cloud.samples}) == 3)

        command = cloud.command(12, site="split")

        applied, verified = await until(
            lambda: len(cloud.replies_to(command)) > 1 and cloud.replies_to(command)
        )
        assert (applied.state, verified.state) == (Reply.APPLIED, Reply.VERIFIED)
        assert [share.power_mw for share in verified.shares] == pytest.approx([7.2, 2.4, 2.4])
        assert [share.measured_mw for share in verified.shares] == pytest.approx([7.2, 2.4, 2.4], rel=0.1)
        (line,) = agent.lines("split")
        assert line["raw"] == pytest.approx({"split-1": 7.2, "split-2": 2.4, "split-3": 2.4})
        assert line["clamped"] == line["raw"]
        assert line["residual"] == pytest.approx({"split-1": 0, "split-2": 0, "split-3": 0})


async def test_both_ids_mean_the_asset_and_a_repeated_command_gets_the_same_reply(
    tmp_path: Path, mosquitto: tuple[str, int]
) -> None:
    """D-027."""
    async with an_agent(tmp_path, "both", mosquitto) as (agent, cloud):
        await until(lambda: len({each.asset for each in cloud.samples}) == 3)
        command = cloud.command(5, site="both", asset="both-2")
        await until(lambda: len(cloud.replies_to(command)) == 2)

        cloud.send_command(command)

        replies = await until(lambda: len(cloud.replies_to(command)) == 3 and cloud.replies_to(command))
        assert replies[1] == replies[2]
        assert [share.asset for share in replies[0].shares] == ["both-2"]
        assert len(agent.lines("split")) == 1
        assert {each.values["power_setpoint_w"] for each in cloud.of("both-1")} == {0}


async def test_a_setpoint_returns_to_zero_after_its_duration_unless_a_newer_one_took_over(
    tmp_path: Path, mosquitto: tuple[str, int]
) -> None:
    """U-D08."""

    def told(cloud: Cloud, asset: str) -> list[float]:
        values = [each.values["power_setpoint_w"] / 1e6 for each in cloud.of(asset)]
        return [value for n, value in enumerate(values) if n == 0 or value != values[n - 1]]

    async with an_agent(tmp_path, "timer", mosquitto) as (_, cloud):
        await until(lambda: len({each.asset for each in cloud.samples}) == 3)

        cloud.command(5, asset="timer-1", duration_s=1.0)
        replaced = cloud.command(6, asset="timer-2", duration_s=1.0)
        await until(lambda: cloud.replies_to(replaced))
        cloud.command(7, asset="timer-2")

        await until(lambda: told(cloud, "timer-1") == [0, 5, 0])
        last = cloud.command(-3, asset="timer-3")
        await until(lambda: len(cloud.replies_to(last)) == 2)
        assert told(cloud, "timer-2") == [0, 6, 7]


async def test_commands_that_come_too_late_or_from_an_older_mode_are_answered_and_not_obeyed(
    tmp_path: Path, mosquitto: tuple[str, int]
) -> None:
    async with an_agent(tmp_path, "late", mosquitto) as (agent, cloud):
        await until(lambda: cloud.samples)
        cloud.configure("active", 3)
        await until(lambda: agent.lines("config"))

        late = cloud.command(5, asset="late-1", mode_epoch=3, expires_at_us=1)
        old = cloud.command(5, asset="late-1", mode_epoch=2)
        closed = cloud.command(5, asset="late-1", mode_epoch=3, capability="pv")

        await until(lambda: len(cloud.replies) == 3)
        assert cloud.replies_to(late)[0].state == Reply.EXPIRED
        assert cloud.replies_to(old)[0].reason == "MODE_EPOCH_OLD: stamped under 2, 3 is in force"
        assert cloud.replies_to(closed)[0].reason == "CAPABILITY_CLOSED: pv is not opted in"
        assert {each.values["control_mode"] for each in cloud.of("late-1")} == {0}


async def test_an_agent_that_learns_of_observe_releases_once_says_so_and_writes_no_more(
    tmp_path: Path, mosquitto: tuple[str, int]
) -> None:
    async with an_agent(tmp_path, "observe", mosquitto) as (agent, cloud):
        await until(lambda: len({each.asset for each in cloud.samples}) == 3)
        running_one = cloud.command(5, asset="observe-1")
        await until(lambda: len(cloud.replies_to(running_one)) == 2)

        cloud.configure("observe", 2)

        await until(lambda: len(cloud.replies_to(running_one)) == 3)
        assert cloud.replies_to(running_one)[-1].reason.startswith("MODE_OBSERVE")
        await until(lambda: cloud.of("observe-1")[-1].values["control_mode"] == 0)
        refused = cloud.command(5, asset="observe-1", mode_epoch=2)
        await until(lambda: cloud.replies_to(refused))
        assert cloud.replies_to(refused)[0].state == Reply.REJECTED
        assert [line["asset"] for line in agent.lines("released")] == ["observe-1"]

        back = cloud.command(5, asset="observe-1", mode_epoch=3)  # active again, and config is on its way
        await until(lambda: len(cloud.replies_to(back)) == 2)
        assert cloud.replies_to(back)[-1].state == Reply.VERIFIED


async def test_an_order_to_erase_wipes_the_spool_ends_the_measuring_and_is_answered(
    tmp_path: Path, mosquitto: tuple[str, int]
) -> None:
    """H-022, P-056."""
    async with an_agent(tmp_path, "erased", mosquitto) as (agent, cloud):
        await until(lambda: len(cloud.samples) >= 9)
        running_one = cloud.command(5, asset="erased-1")
        await until(lambda: len(cloud.replies_to(running_one)) == 2)

        cloud.configure("observe", 2, erase=True)

        await until(lambda: Reply(state=Reply.ERASED) in cloud.replies)
        await until(lambda: [line["asset"] for line in agent.lines("released")] == ["erased-1"])
        cloud.samples.clear()
        assert agent.stop() == 0
        await until(lambda: cloud.kinds()[-1] == Status.GONE)
        assert not cloud.samples

    assert agent.spooled() == set()
    assert b"erased-1" not in agent.spool.read_bytes()


async def test_a_silent_cloud_gives_devices_back_to_their_own_default(tmp_path: Path, broker: Broker) -> None:
    async with an_agent(tmp_path, "deadman", broker.address, DEADMAN_S="1") as (agent, cloud):
        await until(lambda: len({each.asset for each in cloud.samples}) == 3)
        command = cloud.command(5, asset="deadman-1")
        await until(lambda: len(cloud.replies_to(command)) == 2)

        broker.stop()

        (line,) = await until(lambda: agent.lines("released"))
        assert line["asset"] == "deadman-1"
        await broker.start()
        async with cloud_for(broker.address, "default", "deadman") as again:
            await until(lambda: again.replies_to(command) or again.samples)
        assert [each["state"] for each in agent.lines("reply")] == ["APPLIED", "VERIFIED", "NOT_FOLLOWING"]


async def test_a_cloud_that_hangs_is_as_silent_as_one_that_is_gone(tmp_path: Path, broker: Broker) -> None:
    """The broker still holds the connection, and nobody answers."""
    async with an_agent(tmp_path, "hangs", broker.address, DEADMAN_S="3") as (agent, cloud):
        await until(lambda: len({each.asset for each in cloud.samples}) == 3)
        command = cloud.command(5, asset="hangs-1")
        await until(lambda: len(cloud.replies_to(command)) == 2)

        cloud.tells_time = False

        assert await until(lambda: agent.lines("setpoint not refreshed"))
        (line,) = await until(lambda: agent.lines("released"))
        assert line["reason"].startswith("DEADMAN")
        assert agent.lines("not connected") == []


async def test_a_duration_ends_also_without_the_cloud(tmp_path: Path, broker: Broker) -> None:
    """U-D08: nobody says that it may write 0, so the device is given back."""
    async with an_agent(tmp_path, "over", broker.address) as (agent, cloud):
        await until(lambda: len({each.asset for each in cloud.samples}) == 3)
        command = cloud.command(5, asset="over-1", duration_s=3)
        await until(lambda: len(cloud.replies_to(command)) == 2)

        cloud.tells_time = False

        (line,) = await until(lambda: agent.lines("released"))
        assert line["reason"].startswith("DURATION_OVER")


async def test_a_dead_device_delays_no_other(tmp_path: Path, mosquitto: tuple[str, int]) -> None:
    with socket.socket() as silent:  # accepts connections and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        (tmp_path / "assets.yaml").write_text(
            "sites: [{id: slow, assets: [{id: good, max_mw: 1}, {id: dead, max_mw: 1, driver: sunspec, "
            f"host: 127.0.0.1, port: {silent.getsockname()[1]}}}]}}]"
        )
        async with an_agent(tmp_path, "slow", mosquitto) as (_, cloud):
            # In turn with the other one's time-outs of 3 s these would take a minute.
            await until(lambda: len(cloud.of("good")) >= 20)

            assert not cloud.of("dead")
            await until(lambda: cloud.events, what="device_silent")
            assert (cloud.events[0].asset, cloud.events[0].type) == ("dead", "device_silent")
            offline = cloud.command(1, asset="dead")
            await until(lambda: cloud.replies_to(offline))
            assert cloud.replies_to(offline)[0].reason.startswith("OFFLINE: dead")


@pytest.mark.skipif(kept_by_ntp(), reason="the clock of this machine is kept by NTP")
async def test_samples_of_an_untrusted_clock_wait_and_are_dated(
    tmp_path: Path, mosquitto: tuple[str, int]
) -> None:
    async with an_agent(tmp_path, "undated", mosquitto, CLOCK_TRUSTED="0") as (agent, cloud):
        cloud.tells_time = False
        await until(lambda: agent.lines("device answers"))
        assert agent.lines("clock not trusted")
        assert not cloud.samples

        cloud.tells_time = True

        def is_dated() -> bool:
            # Repeated, as the controller does without a reply: one that comes too late makes it ask the time.
            cloud.command(0, asset="undated-1")
            return {1, 2, 3} <= {each.seq for each in cloud.samples}

        await until(is_dated)
        oldest = min(each.ts_us for each in cloud.samples)
        assert abs(oldest - cloud.statuses[0].at_us) < 10_000_000


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({}, "Error: HEADEND_GRPC is not set; "),
        ({"HEADEND_GRPC": "h", "ASSET_ID": "a", "MAX_MW": "x"}, "Error: MAX_MW is 'x'; it must be a number"),
        ({"HEADEND_GRPC": "h"}, "Error: ASSET_ID, SITE_ID and ASSETS_PATH are not set; "),
    ],
)
def test_a_wrong_environment_ends_it_with_one_line(env: dict[str, str], says: str) -> None:
    """D-007, D-011, D-016."""
    ended = subprocess.run(
        [sys.executable, "-m", "edge_agent"],
        env=env | {"PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 1
    assert ended.stderr.startswith(says)
    assert ended.stderr.count("\n") == 1


def test_the_agent_needs_nothing_but_its_own_extra() -> None:
    """It installs alone on a small box: neither numpy nor anything of the cloud or the fleet."""
    code = "import sys, edge_agent.__main__, edge_agent.drivers as d; d.all_drivers(); print(*sys.modules)"
    listed = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    tops = {name.split(".")[0] for name in listed.stdout.split()}
    assert not tops & {"numpy", "pandas", "sunspec2", "services", "fastapi", "aiokafka", "pydantic"}
    assert "cryptography" not in tops  # only `enroll` and `renew` need it, and an hour in two months
    assert "edge_agent.fleet" not in listed.stdout
