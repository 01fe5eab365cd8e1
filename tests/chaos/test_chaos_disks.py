"""The promise with full, wiped and copied disks, wrong clocks, a slow database, repeats and a full broker."""

from pathlib import Path

from tests.chaos.chaos_run import chaos

GROUPS = "disk,slow,clock,repeat,spool,flood"


def test_disks_clocks_repeats_and_queues(tmp_path: Path) -> None:
    result = chaos(tmp_path, "--seed", "5", "--groups", GROUPS, "--faults", "12")

    assert result["by_group"].keys() >= {"clock", "flood", "repeat", "slow", "spool"}
    assert result["verdict"]["too_old"] > 0
    assert result["verdict"]["held"] > 0
    assert result["by_group"].get("disk", 0) == 3 or "full disks" in result["left_out"]
