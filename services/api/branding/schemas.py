"""What a tenant may set, and in which form."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Base64Bytes, BaseModel, ConfigDict, Field, StringConstraints

MOST_LOGO_BYTES: Final = 32_768
_TYPES: Final = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"RIFF": "image/webp",
}
"""By their first bytes. No SVG: a picture must not be able to run scripts."""

Colour = Annotated[str, StringConstraints(pattern=r"^#[0-9A-Fa-f]{6}$", to_lower=True)]
Use = Literal["primary", "secondary", "accent", "background", "text"]


def type_of(logo: bytes) -> str | None:
    """Its media type; None: a form that is not taken."""
    if logo.startswith(b"RIFF") and logo[8:12] != b"WEBP":
        return None
    return next((kind for first, kind in _TYPES.items() if logo.startswith(first)), None)


def _picture(logo: bytes) -> bytes:
    if len(logo) > MOST_LOGO_BYTES:
        raise ValueError(f"has {len(logo)} bytes; at most {MOST_LOGO_BYTES} are taken")
    if type_of(logo) is None:
        raise ValueError("must be a PNG, JPEG or WebP picture in Base64")
    return logo


class Branding(BaseModel):
    """All of it: what is left out is not set."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=80, examples=["Park Energy"])] = ""
    colours: Annotated[dict[Use, Colour], Field(examples=[{"primary": "#0b6e4f"}])] = {}
    logo: Annotated[
        Annotated[Base64Bytes, AfterValidator(_picture)] | None,
        Field(description=f"PNG, JPEG or WebP in Base64, at most {MOST_LOGO_BYTES} bytes"),
    ] = None
