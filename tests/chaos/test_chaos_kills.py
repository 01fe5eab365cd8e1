"""The promise under kill -9, three parts at a time: nothing lost, doubled, changed or foreign."""

from pathlib import Path

from tests.chaos.chaos_run import chaos


def test_every_part_is_killed_at_least_five_times(tmp_path: Path) -> None:
    result = chaos(tmp_path, "--seed", "5", "--groups", "kill", "--faults", "36")

    assert min(result["killed"].values()) >= 5, result["killed"]
