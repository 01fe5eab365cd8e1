from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Status(_message.Message):
    __slots__ = ("kind", "at_us", "boot_id", "version", "features", "assets", "spool_epochs", "spool", "site", "site_name", "agent_mode", "mode_epoch", "asked_us")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[Status.Kind]
        BIRTH: _ClassVar[Status.Kind]
        ALIVE: _ClassVar[Status.Kind]
        GONE: _ClassVar[Status.Kind]
    KIND_UNSPECIFIED: Status.Kind
    BIRTH: Status.Kind
    ALIVE: Status.Kind
    GONE: Status.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    AT_US_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    ASSETS_FIELD_NUMBER: _ClassVar[int]
    SPOOL_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    SPOOL_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    SITE_NAME_FIELD_NUMBER: _ClassVar[int]
    AGENT_MODE_FIELD_NUMBER: _ClassVar[int]
    MODE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    ASKED_US_FIELD_NUMBER: _ClassVar[int]
    kind: Status.Kind
    at_us: int
    boot_id: str
    version: str
    features: _containers.RepeatedScalarFieldContainer[str]
    assets: _containers.RepeatedCompositeFieldContainer[AssetInfo]
    spool_epochs: _containers.RepeatedCompositeFieldContainer[SpoolEpoch]
    spool: Spool
    site: str
    site_name: str
    agent_mode: str
    mode_epoch: int
    asked_us: int
    def __init__(self, kind: _Optional[_Union[Status.Kind, str]] = ..., at_us: _Optional[int] = ..., boot_id: _Optional[str] = ..., version: _Optional[str] = ..., features: _Optional[_Iterable[str]] = ..., assets: _Optional[_Iterable[_Union[AssetInfo, _Mapping]]] = ..., spool_epochs: _Optional[_Iterable[_Union[SpoolEpoch, _Mapping]]] = ..., spool: _Optional[_Union[Spool, _Mapping]] = ..., site: _Optional[str] = ..., site_name: _Optional[str] = ..., agent_mode: _Optional[str] = ..., mode_epoch: _Optional[int] = ..., asked_us: _Optional[int] = ...) -> None: ...

class SpoolEpoch(_message.Message):
    __slots__ = ("epoch", "lowest_seq")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LOWEST_SEQ_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    lowest_seq: int
    def __init__(self, epoch: _Optional[int] = ..., lowest_seq: _Optional[int] = ...) -> None: ...

class Spool(_message.Message):
    __slots__ = ("rows", "bytes", "evicted_rows", "evicted")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    EVICTED_ROWS_FIELD_NUMBER: _ClassVar[int]
    EVICTED_FIELD_NUMBER: _ClassVar[int]
    rows: int
    bytes: int
    evicted_rows: int
    evicted: _containers.RepeatedCompositeFieldContainer[EvictedRange]
    def __init__(self, rows: _Optional[int] = ..., bytes: _Optional[int] = ..., evicted_rows: _Optional[int] = ..., evicted: _Optional[_Iterable[_Union[EvictedRange, _Mapping]]] = ...) -> None: ...

class EvictedRange(_message.Message):
    __slots__ = ("epoch", "first_seq", "last_seq")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQ_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQ_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    first_seq: int
    last_seq: int
    def __init__(self, epoch: _Optional[int] = ..., first_seq: _Optional[int] = ..., last_seq: _Optional[int] = ...) -> None: ...

class AssetInfo(_message.Message):
    __slots__ = ("id", "name", "type", "capacity_mwh", "max_mw", "min_mw", "efficiency", "ramp_rate_mw_per_min", "location")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_MWH_FIELD_NUMBER: _ClassVar[int]
    MAX_MW_FIELD_NUMBER: _ClassVar[int]
    MIN_MW_FIELD_NUMBER: _ClassVar[int]
    EFFICIENCY_FIELD_NUMBER: _ClassVar[int]
    RAMP_RATE_MW_PER_MIN_FIELD_NUMBER: _ClassVar[int]
    LOCATION_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    type: str
    capacity_mwh: float
    max_mw: float
    min_mw: float
    efficiency: float
    ramp_rate_mw_per_min: float
    location: str
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., type: _Optional[str] = ..., capacity_mwh: _Optional[float] = ..., max_mw: _Optional[float] = ..., min_mw: _Optional[float] = ..., efficiency: _Optional[float] = ..., ramp_rate_mw_per_min: _Optional[float] = ..., location: _Optional[str] = ...) -> None: ...

class AgentStatus(_message.Message):
    __slots__ = ("tenant", "device", "status", "received_at_us")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_US_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    device: str
    status: Status
    received_at_us: int
    def __init__(self, tenant: _Optional[str] = ..., device: _Optional[str] = ..., status: _Optional[_Union[Status, _Mapping]] = ..., received_at_us: _Optional[int] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("id", "dispatch_id", "tenant", "device", "site", "asset", "power_mw", "duration_s", "issued_at_us", "expires_at_us", "mode_epoch", "capability", "stamped_at_us")
    ID_FIELD_NUMBER: _ClassVar[int]
    DISPATCH_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    ASSET_FIELD_NUMBER: _ClassVar[int]
    POWER_MW_FIELD_NUMBER: _ClassVar[int]
    DURATION_S_FIELD_NUMBER: _ClassVar[int]
    ISSUED_AT_US_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_US_FIELD_NUMBER: _ClassVar[int]
    MODE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    CAPABILITY_FIELD_NUMBER: _ClassVar[int]
    STAMPED_AT_US_FIELD_NUMBER: _ClassVar[int]
    id: str
    dispatch_id: str
    tenant: str
    device: str
    site: str
    asset: str
    power_mw: float
    duration_s: float
    issued_at_us: int
    expires_at_us: int
    mode_epoch: int
    capability: str
    stamped_at_us: int
    def __init__(self, id: _Optional[str] = ..., dispatch_id: _Optional[str] = ..., tenant: _Optional[str] = ..., device: _Optional[str] = ..., site: _Optional[str] = ..., asset: _Optional[str] = ..., power_mw: _Optional[float] = ..., duration_s: _Optional[float] = ..., issued_at_us: _Optional[int] = ..., expires_at_us: _Optional[int] = ..., mode_epoch: _Optional[int] = ..., capability: _Optional[str] = ..., stamped_at_us: _Optional[int] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ("command_id", "dispatch_id", "state", "reason", "shares", "unplaced_mw", "unplaced_why", "at_us")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Reply.State]
        APPLIED: _ClassVar[Reply.State]
        VERIFIED: _ClassVar[Reply.State]
        NOT_FOLLOWING: _ClassVar[Reply.State]
        REJECTED: _ClassVar[Reply.State]
        EXPIRED: _ClassVar[Reply.State]
        ERASED: _ClassVar[Reply.State]
    STATE_UNSPECIFIED: Reply.State
    APPLIED: Reply.State
    VERIFIED: Reply.State
    NOT_FOLLOWING: Reply.State
    REJECTED: Reply.State
    EXPIRED: Reply.State
    ERASED: Reply.State
    COMMAND_ID_FIELD_NUMBER: _ClassVar[int]
    DISPATCH_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SHARES_FIELD_NUMBER: _ClassVar[int]
    UNPLACED_MW_FIELD_NUMBER: _ClassVar[int]
    UNPLACED_WHY_FIELD_NUMBER: _ClassVar[int]
    AT_US_FIELD_NUMBER: _ClassVar[int]
    command_id: str
    dispatch_id: str
    state: Reply.State
    reason: str
    shares: _containers.RepeatedCompositeFieldContainer[Share]
    unplaced_mw: float
    unplaced_why: str
    at_us: int
    def __init__(self, command_id: _Optional[str] = ..., dispatch_id: _Optional[str] = ..., state: _Optional[_Union[Reply.State, str]] = ..., reason: _Optional[str] = ..., shares: _Optional[_Iterable[_Union[Share, _Mapping]]] = ..., unplaced_mw: _Optional[float] = ..., unplaced_why: _Optional[str] = ..., at_us: _Optional[int] = ...) -> None: ...

class Share(_message.Message):
    __slots__ = ("asset", "raw_mw", "clamped_mw", "residual_mw", "power_mw", "measured_mw", "limited_by")
    ASSET_FIELD_NUMBER: _ClassVar[int]
    RAW_MW_FIELD_NUMBER: _ClassVar[int]
    CLAMPED_MW_FIELD_NUMBER: _ClassVar[int]
    RESIDUAL_MW_FIELD_NUMBER: _ClassVar[int]
    POWER_MW_FIELD_NUMBER: _ClassVar[int]
    MEASURED_MW_FIELD_NUMBER: _ClassVar[int]
    LIMITED_BY_FIELD_NUMBER: _ClassVar[int]
    asset: str
    raw_mw: float
    clamped_mw: float
    residual_mw: float
    power_mw: float
    measured_mw: float
    limited_by: str
    def __init__(self, asset: _Optional[str] = ..., raw_mw: _Optional[float] = ..., clamped_mw: _Optional[float] = ..., residual_mw: _Optional[float] = ..., power_mw: _Optional[float] = ..., measured_mw: _Optional[float] = ..., limited_by: _Optional[str] = ...) -> None: ...

class AgentReply(_message.Message):
    __slots__ = ("tenant", "device", "reply", "received_at_us", "from_gateway")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_US_FIELD_NUMBER: _ClassVar[int]
    FROM_GATEWAY_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    device: str
    reply: Reply
    received_at_us: int
    from_gateway: bool
    def __init__(self, tenant: _Optional[str] = ..., device: _Optional[str] = ..., reply: _Optional[_Union[Reply, _Mapping]] = ..., received_at_us: _Optional[int] = ..., from_gateway: _Optional[bool] = ...) -> None: ...

class Config(_message.Message):
    __slots__ = ("mode", "mode_epoch", "opt_ins", "server_time_us", "telemetry_interval_ms", "erase")
    MODE_FIELD_NUMBER: _ClassVar[int]
    MODE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    OPT_INS_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_US_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    ERASE_FIELD_NUMBER: _ClassVar[int]
    mode: str
    mode_epoch: int
    opt_ins: _containers.RepeatedScalarFieldContainer[str]
    server_time_us: int
    telemetry_interval_ms: int
    erase: bool
    def __init__(self, mode: _Optional[str] = ..., mode_epoch: _Optional[int] = ..., opt_ins: _Optional[_Iterable[str]] = ..., server_time_us: _Optional[int] = ..., telemetry_interval_ms: _Optional[int] = ..., erase: _Optional[bool] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("at_us", "asset", "type", "severity", "code", "message")
    AT_US_FIELD_NUMBER: _ClassVar[int]
    ASSET_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    at_us: int
    asset: str
    type: str
    severity: str
    code: str
    message: str
    def __init__(self, at_us: _Optional[int] = ..., asset: _Optional[str] = ..., type: _Optional[str] = ..., severity: _Optional[str] = ..., code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class AgentEvent(_message.Message):
    __slots__ = ("tenant", "device", "event", "received_at_us")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_AT_US_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    device: str
    event: Event
    received_at_us: int
    def __init__(self, tenant: _Optional[str] = ..., device: _Optional[str] = ..., event: _Optional[_Union[Event, _Mapping]] = ..., received_at_us: _Optional[int] = ...) -> None: ...
