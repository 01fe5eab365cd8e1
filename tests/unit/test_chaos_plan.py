"""What a chaos run does follows from its seed; and what its checker notices."""

from collections import Counter

import pytest

from scripts.chaos import disks
from scripts.chaos.__main__ import read_arguments
from scripts.chaos.plan import GROUPS, PARTS, due, plan


def test_the_same_seed_gives_the_same_faults_and_another_one_others() -> None:
    assert plan(3, 80, GROUPS, outage_s=60) == plan(3, 80, GROUPS, outage_s=60)
    assert plan(3, 80, GROUPS, outage_s=60) != plan(4, 80, GROUPS, outage_s=60)


def test_two_hundred_faults_hold_every_kind_and_kill_each_part_five_times() -> None:
    faults = plan(1, 200, GROUPS, outage_s=600)

    assert {fault.group for fault in faults} == GROUPS.keys()
    killed = Counter(fault.target for fault in faults if fault.group == "kill")
    assert all(killed[part] >= 5 for part in PARTS)
    assert [fault.lasts_s for fault in faults if fault.group == "outage"] == [600]


def test_only_the_wanted_groups_come_up() -> None:
    assert {fault.group for fault in plan(1, 50, {"kill", "link"}, outage_s=60)} == {"kill", "link"}


def test_a_fault_waits_while_another_one_has_its_part() -> None:
    kills = plan(1, 12, {"kill"}, outage_s=60)

    first = due(kills, busy=())
    assert first is kills[0]
    second = due(kills, busy=first.parts)
    assert second
    assert second.target != first.target
    assert due(kills, busy=PARTS) is None


def test_who_may_not_mount_gets_no_small_disks(
    tmp_path: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disks.os, "geteuid", lambda: 1_000)

    assert disks.mount(tmp_path) == {}


def test_an_unknown_group_is_named_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_arguments(["--groups", "kill,earthquake"])

    assert "--groups has earthquake; there are kill, pause, link" in capsys.readouterr().err
