"""What the site and the server need from every model device, and the registers that all of them have."""

from collections.abc import Set
from typing import Final, Protocol

from edge_agent.fleet import ac
from edge_agent.fleet.registers import Name, RegisterMap, scale_for
from overwatt.inventory import Asset

MANUFACTURER: Final = "Overwatt fleet"
VERSION: Final = "1"


class Device(Protocol):
    """One model behind one Modbus port."""

    asset: Asset
    registers: RegisterMap
    rated_w: float

    @property
    def power_w(self) -> float:
        """Now: a source's is positive when it gives, a load's and a meter's when it takes."""
        ...

    def step(self, *, dt_s: float, real_s: float, year_s: float) -> float:
        """Moves on by dt_s of the model, real_s of a client's time; the mean power on the way."""
        ...

    def next_event_s(self) -> float:
        """Real seconds until a timer runs out."""
        ...

    def refresh(self) -> None:
        """Puts what is measured now into the registers."""
        ...

    def written(self, points: Set[Name]) -> None:
        """A client has written these points; the registers hold their new values."""
        ...


def put_common(registers: RegisterMap, asset: Asset) -> None:
    """Model 1. A UUID fits into the serial number without its hyphens."""
    registers.put(
        1,
        Mn=MANUFACTURER,
        Md=f"Model {asset.type}",
        Opt="simulated",
        Vr=VERSION,
        SN=asset.id.replace("-", ""),
        DA=1,
    )


def put_nameplate(registers: RegisterMap, rated_w: float, *, storage: bool) -> None:
    """Model 120, as far as PV and batteries share it."""
    rated_a = ac.current_a(rated_w, rated_w)
    registers.put(
        120,
        DERTyp=82 if storage else 4,
        WRtg_SF=scale_for(rated_w),
        WRtg=rated_w,
        VARtg_SF=scale_for(rated_w),
        VARtg=rated_w,
        ARtg_SF=scale_for(rated_a, finest=-1),
        ARtg=rated_a,
    )
