"""Who belongs: the compacted topic `registry` as a dict."""

from google.protobuf.message import DecodeError

from overwatt import topics
from overwatt.v1 import registry_pb2
from services.escalation import metrics
from services.escalation.model import Device, Key
from services.runtime.bus import Record


class Directory:
    """Devices by key and by name, kept live."""

    def __init__(self) -> None:
        self.by_key: dict[int, Device] = {}
        self.by_name: dict[Key, Device] = {}
        self.revision = 0
        """Rises with every change."""

    def apply(self, record: Record) -> None:
        """Take over a record of the topic; a tombstone removes."""
        self.revision += 1
        tenant, _, name = (record.key or b"").decode().partition("/")
        if record.value is None:
            self.by_name.pop((tenant, name), None)
            self.by_key = {
                key: device
                for key, device in self.by_key.items()
                if (device.tenant_id, device.device_id) != (tenant, name)
            }
            return
        try:
            wire = registry_pb2.Device.FromString(record.value)
        except DecodeError:
            metrics.UNUSABLE.labels(topics.REGISTRY).inc()
            return
        device = Device(wire.tenant, wire.device, wire.site, wire.box, wire.state == "active")
        self.by_key[wire.device_key] = device
        self.by_name[(wire.tenant, wire.device)] = device
