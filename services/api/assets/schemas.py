"""An asset as operators see it. Power is in MW, positive on discharge."""

from pydantic import BaseModel, ConfigDict, Field


class Asset(BaseModel):
    """What the assets file says, and what may be done."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "asset_id": "7ba7b810-9dad-11d1-80b4-00c04fd430c8",
                "name": "SA-BESS-1",
                "type": "battery",
                "site_id": "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
                "site_name": "Site A",
                "location": "Brussels",
                "capacity_mwhr": 120,
                "min_mw": -60,
                "max_mw": 60,
                "efficiency": 0.92,
                "ramp_rate_mw_per_min": 1000,
                "state": "active",
                "mode": "active",
                "opt_ins": ["battery"],
            }
        }
    )

    asset_id: str
    name: str
    type: str
    site_id: str | None
    site_name: str
    location: str
    capacity_mwhr: float
    min_mw: float = Field(description="full charge")
    max_mw: float = Field(description="full discharge")
    efficiency: float
    ramp_rate_mw_per_min: float | None
    state: str = Field(description="active or disabled")
    mode: str | None = Field(description="of its box: observe or active")
    opt_ins: list[str] = Field(description="capabilities that the customer opened")
