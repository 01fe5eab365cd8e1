from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Device(_message.Message):
    __slots__ = ("tenant", "device", "device_key", "site", "site_name", "box", "state", "type", "name", "assets", "mode", "mode_epoch", "opt_ins", "changed_at_us", "capacity_mwh", "max_mw", "min_mw", "wipe")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_KEY_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    SITE_NAME_FIELD_NUMBER: _ClassVar[int]
    BOX_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ASSETS_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    MODE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    OPT_INS_FIELD_NUMBER: _ClassVar[int]
    CHANGED_AT_US_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_MWH_FIELD_NUMBER: _ClassVar[int]
    MAX_MW_FIELD_NUMBER: _ClassVar[int]
    MIN_MW_FIELD_NUMBER: _ClassVar[int]
    WIPE_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    device: str
    device_key: int
    site: str
    site_name: str
    box: str
    state: str
    type: str
    name: str
    assets: _containers.RepeatedScalarFieldContainer[str]
    mode: str
    mode_epoch: int
    opt_ins: _containers.RepeatedScalarFieldContainer[str]
    changed_at_us: int
    capacity_mwh: float
    max_mw: float
    min_mw: float
    wipe: bool
    def __init__(self, tenant: _Optional[str] = ..., device: _Optional[str] = ..., device_key: _Optional[int] = ..., site: _Optional[str] = ..., site_name: _Optional[str] = ..., box: _Optional[str] = ..., state: _Optional[str] = ..., type: _Optional[str] = ..., name: _Optional[str] = ..., assets: _Optional[_Iterable[str]] = ..., mode: _Optional[str] = ..., mode_epoch: _Optional[int] = ..., opt_ins: _Optional[_Iterable[str]] = ..., changed_at_us: _Optional[int] = ..., capacity_mwh: _Optional[float] = ..., max_mw: _Optional[float] = ..., min_mw: _Optional[float] = ..., wipe: _Optional[bool] = ...) -> None: ...
