"""The load generator's messages, read as the gateway reads them; the page of figures."""

import json
from pathlib import Path

import numpy as np
import pytest

from overwatt.topics import PROTOBUF, Address
from overwatt.v1.telemetry_pb2 import Batch
from scripts.bench_telemetry import tell
from scripts.load.platform import senders_of
from scripts.load.shapes import LATE_US, SHAPES
from services.ingest import decode_json
from services.ingest.decode_batch import decode_batch
from services.ingest.model import AgentBatch, Member, Message, Samples
from services.ingest.registry import Registry

START_US = 1_767_225_600_000_000
AGENT = Member(tenant="load", device="a-0", key=1, assets=frozenset({"a-0-0", "a-0-1"}))


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if shape.is_agent])
def test_an_agents_messages_pass_the_gateway_and_no_key_comes_twice(name: str) -> None:
    registry, shape = Registry(), SHAPES[name]
    registry.members = {f"load/a-0-{d}": Member("load", f"a-0-{d}", 2 + d) for d in range(2)}
    speaker = shape.speaker(["a-0-0", "a-0-1"], 77, START_US)
    keys, seqs = set(), set()

    for number in range(20):
        said = speaker.say(number)
        message = Message("devices/load/a-0/telemetry", said.payload, said.content_type, START_US)
        meaning = decode_batch(message, Address("load", "a-0", "telemetry"), AGENT, registry, None)
        assert isinstance(meaning, AgentBatch)
        assert meaning.rejected == ()
        batch = Batch.FromString(said.payload)
        [block] = batch.blocks
        assert len(block.columns) == shape.points
        for offset, ts_us in enumerate(np.frombuffer(block.ts_us, dtype="<i8").tolist()):
            keys.add((block.asset, ts_us))
            seqs.add(batch.first_seq + offset)

    assert said.content_type == PROTOBUF
    assert len(keys) == 20 * shape.rows
    assert seqs == set(range(1, 20 * shape.rows + 1))


@pytest.mark.parametrize("name", ["json3", "json6"])
def test_a_simple_devices_messages_are_one_sample_each(name: str) -> None:
    speaker = SHAPES[name].speaker(["s-0"], 0, START_US)
    times = []
    for number in range(5):
        payload = speaker.say(number).payload
        meaning = decode_json.decode(Message("t", payload, "", 0), Member("load", "s-0", 1))
        assert isinstance(meaning, Samples)
        [sample] = meaning.samples
        assert len(sample.metrics) == SHAPES[name].points
        times.append(sample.ts_us)
    assert times == [START_US + number * 1_000_000 for number in range(5)]


def test_late_messages_keep_their_numbers_and_have_times_three_hours_back() -> None:
    speaker = SHAPES["batch"].speaker(["a-0-0"], 77, START_US)
    live, late = (Batch.FromString(speaker.say(3, is_late=is_late).payload) for is_late in (False, True))
    times = [np.frombuffer(batch.blocks[0].ts_us, dtype="<i8") for batch in (live, late)]
    assert live.first_seq == late.first_seq
    assert set((times[0] - times[1]).tolist()) == {LATE_US}


def test_agents_have_devices_of_their_own_and_names_of_their_tenant() -> None:
    senders = senders_of(SHAPES["batch"], "north", 2, 2)
    assert senders == {"north-0": ["north-0-0", "north-0-1"], "north-1": ["north-1-0", "north-1-1"]}
    assert senders_of(SHAPES["json3"], "north", 1, 9) == {"simple-0": ["simple-0"]}


def test_the_page_of_figures_has_each_line_and_its_picture(tmp_path: Path) -> None:
    (tmp_path / "bench-size.json").write_text(json.dumps({"line": "19.7 bytes a point"}))
    (tmp_path / "bench-ingest.json").write_text(json.dumps({"line": "600,000 points/s"}))
    (tmp_path / "bench-ingest.svg").touch()

    tell(tmp_path)

    page = (tmp_path / "README.md").read_text()
    assert page.index("600,000 points/s") < page.index("bench-ingest.svg") < page.index("19.7 bytes a point")
    assert "bench-size.svg" not in page
