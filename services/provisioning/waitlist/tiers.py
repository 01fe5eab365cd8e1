"""How much support an applicant's hardware will need, from what they wrote about it (H-007, H-008)."""

import re
from typing import Final, Literal

Tier = Literal["stable", "beta", "unsupported"]

STABLE: Final = ("SolarEdge", "Vaillant", "Daikin", "Shelly", "Easee", "WLBox2", "Aurora")
BETA: Final = ("Aquarea", "Huawei", "Marstek")


def tier_of(hardware: str) -> Tier:
    """The tier of the hardest part that is known; unsupported when none is."""
    if _names_one_of(BETA, hardware):
        return "beta"
    return "stable" if _names_one_of(STABLE, hardware) else "unsupported"


def _names_one_of(makes: tuple[str, ...], hardware: str) -> bool:
    # A type may follow without a space: `Shelly3EM`.
    return re.search(rf"\b({'|'.join(makes)})", hardware, re.IGNORECASE | re.ASCII) is not None
