"""What the agent says about itself."""

from edge_agent.commands import Mode
from edge_agent.messages import alive, birth, gone
from edge_agent.model import Evicted, SpoolState
from edge_agent.settings import read_settings
from overwatt.v1.agent_pb2 import Status

SETTINGS = read_settings({"HEADEND_GRPC": "h", "ASSET_ID": "bess-1", "SITE_ID": "site-a", "MAX_MW": "60"})
STATE = SpoolState(3, 4096, 12, (Evicted(7, 1, 12),), {7: 13, 9: 1})


def test_declared_loss_stands_in_every_heartbeat_in_numbers() -> None:
    status = Status.FromString(
        alive(SETTINGS, boot_id="b", at_us=5, asked_us=9, mode=Mode("active", 4), spool=STATE)
    )

    assert (status.kind, status.boot_id, status.mode_epoch) == (Status.ALIVE, "b", 4)
    assert (status.spool.rows, status.spool.bytes, status.spool.evicted_rows) == (3, 4096, 12)
    (lost,) = status.spool.evicted
    assert (lost.epoch, lost.first_seq, lost.last_seq) == (7, 1, 12)


def test_birth_says_who_it_is_and_which_epochs_the_spool_holds() -> None:
    """D-033: the same environment is the same agent; only the session (boot_id) differs."""
    status = Status.FromString(birth(SETTINGS, boot_id="b", at_us=5, asked_us=9, mode=Mode(), spool=STATE))

    assert (status.kind, status.site, status.agent_mode) == (Status.BIRTH, "site-a", "single")
    assert [asset.id for asset in status.assets] == ["bess-1"]
    assert {each.epoch: each.lowest_seq for each in status.spool_epochs} == {7: 13, 9: 1}


def test_the_will_names_the_session_that_ended() -> None:
    status = Status.FromString(gone(SETTINGS, boot_id="b", at_us=5))

    assert (status.kind, status.boot_id) == (Status.GONE, "b")
