from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Batch(_message.Message):
    __slots__ = ("epoch", "first_seq", "blocks")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQ_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    first_seq: int
    blocks: _containers.RepeatedCompositeFieldContainer[Block]
    def __init__(self, epoch: _Optional[int] = ..., first_seq: _Optional[int] = ..., blocks: _Optional[_Iterable[_Union[Block, _Mapping]]] = ...) -> None: ...

class Block(_message.Message):
    __slots__ = ("asset", "ts_us", "seq_offset", "columns", "quality", "device_key", "device_keys", "seq")
    ASSET_FIELD_NUMBER: _ClassVar[int]
    TS_US_FIELD_NUMBER: _ClassVar[int]
    SEQ_OFFSET_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    DEVICE_KEY_FIELD_NUMBER: _ClassVar[int]
    DEVICE_KEYS_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    asset: str
    ts_us: bytes
    seq_offset: bytes
    columns: _containers.RepeatedCompositeFieldContainer[Column]
    quality: bytes
    device_key: int
    device_keys: bytes
    seq: bytes
    def __init__(self, asset: _Optional[str] = ..., ts_us: _Optional[bytes] = ..., seq_offset: _Optional[bytes] = ..., columns: _Optional[_Iterable[_Union[Column, _Mapping]]] = ..., quality: _Optional[bytes] = ..., device_key: _Optional[int] = ..., device_keys: _Optional[bytes] = ..., seq: _Optional[bytes] = ...) -> None: ...

class Column(_message.Message):
    __slots__ = ("quantity", "metric", "values")
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    quantity: int
    metric: str
    values: bytes
    def __init__(self, quantity: _Optional[int] = ..., metric: _Optional[str] = ..., values: _Optional[bytes] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("tenant", "device", "epoch", "first_seq", "received_at_us", "blocks", "identities", "door")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQ_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_US_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    DOOR_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    device: str
    epoch: int
    first_seq: int
    received_at_us: int
    blocks: _containers.RepeatedCompositeFieldContainer[Block]
    identities: _containers.RepeatedCompositeFieldContainer[Identity]
    door: str
    def __init__(self, tenant: _Optional[str] = ..., device: _Optional[str] = ..., epoch: _Optional[int] = ..., first_seq: _Optional[int] = ..., received_at_us: _Optional[int] = ..., blocks: _Optional[_Iterable[_Union[Block, _Mapping]]] = ..., identities: _Optional[_Iterable[_Union[Identity, _Mapping]]] = ..., door: _Optional[str] = ...) -> None: ...

class Identity(_message.Message):
    __slots__ = ("device_key", "tenant", "device")
    DEVICE_KEY_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    device_key: int
    tenant: str
    device: str
    def __init__(self, device_key: _Optional[int] = ..., tenant: _Optional[str] = ..., device: _Optional[str] = ...) -> None: ...

class Range(_message.Message):
    __slots__ = ("first", "last")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    first: int
    last: int
    def __init__(self, first: _Optional[int] = ..., last: _Optional[int] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("ranges", "reason", "final", "retry_after_s")
    RANGES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_S_FIELD_NUMBER: _ClassVar[int]
    ranges: _containers.RepeatedCompositeFieldContainer[Range]
    reason: str
    final: bool
    retry_after_s: int
    def __init__(self, ranges: _Optional[_Iterable[_Union[Range, _Mapping]]] = ..., reason: _Optional[str] = ..., final: _Optional[bool] = ..., retry_after_s: _Optional[int] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("epoch", "committed", "refused", "server_time_us", "asked_us")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_US_FIELD_NUMBER: _ClassVar[int]
    ASKED_US_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    committed: _containers.RepeatedCompositeFieldContainer[Range]
    refused: _containers.RepeatedCompositeFieldContainer[Refusal]
    server_time_us: int
    asked_us: int
    def __init__(self, epoch: _Optional[int] = ..., committed: _Optional[_Iterable[_Union[Range, _Mapping]]] = ..., refused: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ..., server_time_us: _Optional[int] = ..., asked_us: _Optional[int] = ...) -> None: ...

class Outcome(_message.Message):
    __slots__ = ("tenant", "device", "ack", "door")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    DOOR_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    device: str
    ack: Ack
    door: str
    def __init__(self, tenant: _Optional[str] = ..., device: _Optional[str] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., door: _Optional[str] = ...) -> None: ...

class Outcomes(_message.Message):
    __slots__ = ("outcomes",)
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[Outcome]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[Outcome, _Mapping]]] = ...) -> None: ...

class DeadLetter(_message.Message):
    __slots__ = ("tenant", "device", "asset", "reason", "detail", "payload", "count", "at_us", "topic")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    ASSET_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    AT_US_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    device: str
    asset: str
    reason: str
    detail: str
    payload: bytes
    count: int
    at_us: int
    topic: str
    def __init__(self, tenant: _Optional[str] = ..., device: _Optional[str] = ..., asset: _Optional[str] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ..., payload: _Optional[bytes] = ..., count: _Optional[int] = ..., at_us: _Optional[int] = ..., topic: _Optional[str] = ...) -> None: ...
