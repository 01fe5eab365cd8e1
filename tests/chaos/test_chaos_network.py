"""The promise on bad networks, with parts that stand still, and a writer that is away until agents probe."""

from pathlib import Path

from tests.chaos.chaos_run import chaos


def test_links_fail_parts_freeze_and_the_writer_is_away(tmp_path: Path) -> None:
    groups = ("--groups", "link,pause,outage", "--outage", "45")
    result = chaos(tmp_path, "--seed", "5", "--faults", "24", *groups)

    assert result["by_group"] == {"link": 17, "outage": 1, "pause": 6}
    assert result["longest_lag_s"] > 30  # the outage was one
