"""What an installer asks, and is told."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._:-]{0,252}[A-Za-z0-9])?$")]
Mac = Annotated[str, StringConstraints(pattern=r"^([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Found(_Strict):
    """An address that answered; its MAC where that was visible."""

    host: Host = Field(examples=["10.0.0.9"])
    host_mac: Mac | None = Field(default=None, examples=["aa:bb:cc:dd:ee:ff"])


class Scan(_Strict):
    """A scan's result. `save` writes what it teaches: new addresses of known MACs, MACs not yet known."""

    found: list[Found] = Field(max_length=1024)
    save: bool = False


class Matched(BaseModel):
    """An address that answered. `match`: its MAC is that of a device of the box."""

    host: str
    host_mac: str | None
    match: bool
    device_id: str | None
    known_host: str | None = Field(description="where we thought that device was")
    saved: bool
