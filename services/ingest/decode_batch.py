"""An agent's batch: checked block by block without looking at a single row as a Python object.

A block that cannot be used is refused with the sequence numbers of its rows; the others pass.
"""

from typing import Final

import numpy as np
from google.protobuf.message import DecodeError

from overwatt.quantities import BY_NUMBER, Quality
from overwatt.reasons import Reason
from overwatt.topics import Address
from overwatt.v1.telemetry_pb2 import Batch, Block, Record
from services.ingest.decode_json import METRIC
from services.ingest.model import AgentBatch, Member, Message, Rejected
from services.ingest.ranges import LARGEST, Ranges, joined, ranges_of
from services.ingest.registry import Registry
from services.ingest.standing import standing

WORST_QUALITY: Final = max(Quality)


def decode_batch(
    message: Message,
    address: Address,
    member: Member | None,
    registry: Registry,
    problem: tuple[Reason, str] | None,
) -> AgentBatch | Rejected:
    """The usable blocks with the keys of their devices filled in; none if there is a problem with it all."""
    try:
        batch = Batch.FromString(message.payload)
    except DecodeError as error:
        return _refuse(message, address, Reason.MALFORMED, f"no protobuf Batch: {error}")
    if wrong := _wrong_with(batch):
        return _refuse(message, address, Reason.MALFORMED, wrong)
    if problem:
        return _refuse(message, address, *problem, epoch=batch.epoch, refused=_all_seqs(batch))
    assert member
    usable: list[Block] = []
    rejected: list[Rejected] = []
    for block in batch.blocks:
        speaks_for = _speaker(block, member, registry)
        if isinstance(speaks_for, int):
            wrong = _wrong_with_block(batch, block)
            problem = (Reason.MALFORMED, wrong) if wrong else None
        else:
            problem = speaks_for
        if problem is None and isinstance(speaks_for, int):
            block.asset = block.asset or member.device
            block.device_key = speaks_for
            usable.append(block)
        elif problem:
            alone = Batch(epoch=batch.epoch, first_seq=batch.first_seq, blocks=[block])
            rejected.append(
                Rejected(
                    tenant=member.tenant,
                    device=member.device,
                    asset=block.asset[:60],
                    reason=problem[0],
                    detail=problem[1],
                    topic=message.topic,
                    payload=alone.SerializeToString(),
                    epoch=batch.epoch,
                    refused=_seqs(batch, block),
                )
            )
    record = Record(
        tenant=member.tenant,
        device=member.device,
        epoch=batch.epoch,
        first_seq=batch.first_seq,
        received_at_us=message.received_at_us,
        blocks=usable,
    )
    rows = sum(len(block.ts_us) for block in usable) // 8
    return AgentBatch(member, record.SerializeToString() if usable else b"", rows, tuple(rejected))


def numbers_of(payload: bytes) -> tuple[int, Ranges]:
    """Epoch and sequence numbers of a batch that was decoded before, to refuse all of it."""
    batch = Batch.FromString(payload)
    return batch.epoch, _all_seqs(batch)


def _wrong_with(batch: Batch) -> str | None:
    if not 0 < batch.epoch < 2**63:
        return f"epoch is {batch.epoch}; it must be positive and fit 63 bits"
    if not 0 < batch.first_seq <= LARGEST - 2**32:
        return f"first_seq is {batch.first_seq}; it must be positive and fit 63 bits"
    if not batch.blocks:
        return "no blocks; a batch must hold at least one"
    return None


def _speaker(block: Block, member: Member, registry: Registry) -> int | tuple[Reason, str]:
    """The key of the device that the block is of, or why this agent may not speak for it."""
    if not block.asset or block.asset == member.device:
        return member.key
    if block.asset not in member.assets:
        return (
            Reason.ASSET_NOT_ALLOWED,
            f"asset {block.asset[:60]!r} is not in the list of {member.device}; assign it there first",
        )
    asset = registry.find(member.tenant, block.asset)
    if asset and (problem := standing(asset)):
        return problem
    if asset is None:
        return Reason.DEVICE_UNKNOWN, f"asset {block.asset[:60]!r} is not registered"
    return asset.key


def _wrong_with_block(batch: Batch, block: Block) -> str | None:
    """Every length must fit the number of rows."""
    rows, rest = divmod(len(block.ts_us), 8)
    if rows == 0 or rest:
        return f"ts_us has {len(block.ts_us)} bytes; it must have 8 for each row, and at least one row"
    if len(block.seq_offset) != 4 * rows:
        return f"seq_offset has {len(block.seq_offset)} bytes; {4 * rows} for {rows} rows would be right"
    if block.quality and len(block.quality) != rows:
        return f"quality has {len(block.quality)} bytes; {rows}, or none, would be right"
    if block.quality and max(block.quality) > WORST_QUALITY:
        return f"quality has a byte {max(block.quality)}; at most {WORST_QUALITY} is known"
    if block.device_keys or block.seq or block.device_key:
        return "device_key, device_keys and seq are not for agents to fill in"
    seen: set[str | int] = set()
    for column in block.columns:
        name = column.metric if column.quantity == 0 else column.quantity
        if column.quantity == 0 and METRIC.fullmatch(column.metric) is None:
            return f"metric {column.metric[:80]!r}: a name must match [a-z][a-z0-9_]*, at most 64 long"
        if column.quantity and column.quantity not in BY_NUMBER:
            return f"quantity {column.quantity} is not known; metrics beyond the list have 0 and a name"
        if name in seen:
            return f"column {name} stands twice in a block"
        if len(column.values) != 8 * rows:
            return f"column {name} has {len(column.values)} bytes; {8 * rows} would be right"
        seen.add(name)
    return None


def _seqs(batch: Batch, block: Block) -> Ranges:
    """As far as they can be told."""
    whole = len(block.seq_offset) // 4 * 4
    offsets = np.frombuffer(block.seq_offset[:whole], dtype="<u4").astype(np.int64)
    return ranges_of(offsets + np.int64(batch.first_seq))


def _all_seqs(batch: Batch) -> Ranges:
    return joined([span for block in batch.blocks for span in _seqs(batch, block)])


def _refuse(
    message: Message,
    address: Address,
    reason: Reason,
    detail: str,
    *,
    epoch: int = 0,
    refused: Ranges | None = None,
) -> Rejected:
    return Rejected(
        tenant=address.tenant,
        device=address.device,
        reason=reason,
        detail=detail,
        topic=message.topic,
        payload=message.payload,
        epoch=epoch,
        refused=refused or [],
    )
