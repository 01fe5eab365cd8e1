"""Who belongs: the registry topic as a dictionary."""

from collections.abc import Callable

from google.protobuf.message import DecodeError

from overwatt.topics import REGISTRY, identity
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
        self._listeners: list[Callable[[str, Member | None], None]] = []

    def listen(self, on_change: Callable[[str, Member | None], None]) -> None:
        """Call with the identity and the member (None: it never belonged) on every change."""
        self._listeners.append(on_change)

    def find(self, tenant: str, device: str) -> Member | None:
        """The device, whatever its state."""
        return self.members.get(f"{tenant}/{device}")

    def apply(self, record: Record) -> None:
        """A record of the registry topic."""
        name = (record.key or b"").decode(errors="replace")
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
        if self.members.get(name) != member:
            self.members[name] = member
            self._tell(name, member)

    def _tell(self, name: str, member: Member | None) -> None:
        for listener in self._listeners:
            listener(name, member)


def member_of(device: Device) -> Member:
    """From the wire."""
    return Member(
        tenant=device.tenant,
        device=device.device,
        key=device.device_key,
        state=device.state or "active",
        box=device.box,
        type=device.type,
        assets=frozenset(device.assets),
        mode=device.mode,
        mode_epoch=device.mode_epoch,
        opt_ins=tuple(device.opt_ins),
    )
