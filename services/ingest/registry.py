"""Who belongs: the registry topic as a dictionary."""

from collections.abc import Callable
from dataclasses import replace
from sys import intern

from google.protobuf.message import DecodeError

from overwatt.topics import REGISTRY, TOMBSTONE, identity, identity_hash, tombstone_of
from overwatt.v1.registry_pb2 import Device
from services.ingest import metrics
from services.ingest.model import Member
from services.runtime.bus import Record
from services.runtime.log import get_logger

log = get_logger(__name__)


class Registry:
    """Members by identity, kept up to date by `apply`."""

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self._tombstones: set[str] = set()
        self._listeners: list[Callable[[str, Member | None], None]] = []

    def listen(self, on_change: Callable[[str, Member | None], None]) -> None:
        """Call with the identity and the member (None: it never belonged) on every change."""
        self._listeners.append(on_change)

    def find(self, tenant: str, device: str) -> Member | None:
        """The device, whatever its state."""
        return self.members.get(f"{tenant}/{device}") or self._erased(tenant, device)

    def apply(self, record: Record) -> None:
        """A record of the registry topic."""
        name = (record.key or b"").decode(errors="replace")
        if name.startswith(TOMBSTONE):
            self._tombstones.add(name)
            return
        if record.value is None:
            if self.members.pop(name, None):
                self._tell(name, None)
            return
        try:
            member = member_of(Device.FromString(record.value))
        except DecodeError as error:
            metrics.UNUSABLE.labels(REGISTRY).inc()
            log.warning("registry record not usable", key=name, offset=record.offset, error=str(error))
            return
        name = identity(member.tenant, member.device)
        # A tombstone outlives whatever else is said.
        if self._tombstones and (erased := self._erased(member.tenant, member.device)):
            member = replace(member, state=erased.state)
        if self.members.get(name) != member:
            self.members[name] = member
            self._tell(name, member)

    def _erased(self, tenant: str, device: str) -> Member | None:
        if self._tombstones and tombstone_of(identity_hash(tenant, device)) in self._tombstones:
            return Member(tenant=tenant, device=device, key=0, state="erased")
        return None

    def _tell(self, name: str, member: Member | None) -> None:
        for listener in self._listeners:
            listener(name, member)


def member_of(device: Device) -> Member:
    """From the wire. Words that many devices share are kept once: there may be 100,000."""
    return Member(
        tenant=intern(device.tenant),
        device=device.device,
        key=device.device_key,
        state=intern(device.state or "active"),
        site=intern(device.site),
        box=intern(device.box),
        type=intern(device.type),
        assets=frozenset(device.assets),
        mode=intern(device.mode),
        mode_epoch=device.mode_epoch,
        opt_ins=tuple(device.opt_ins),
        wipe=device.wipe,
    )
