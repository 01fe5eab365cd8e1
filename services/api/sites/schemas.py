"""A site and its sums. Power is in W, positive on discharge or generation; a meter's on import."""

from pydantic import BaseModel, Field


class Site(BaseModel):
    """What a site has, can do and is doing; `power_w` and `soc_pct` are of the last 90 s."""

    site_id: str
    name: str
    location: str
    mode: str | None = Field(description="observe or active; observe as long as one of its boxes observes")
    agents_connected: int
    assets: int
    assets_reporting: int
    capacity_mwhr: float = Field(description="of its batteries")
    min_mw: float = Field(description="all batteries at full charge")
    max_mw: float = Field(description="all batteries at full discharge")
    power_w: dict[str, float] = Field(
        description="sum by type of asset", examples=[{"battery": 12e6, "pv": 4.1e4}]
    )
    soc_pct: float | None = Field(description="of its batteries, weighted by capacity")
