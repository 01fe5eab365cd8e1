"""What nobody thought of: requests made from both doors' OpenAPI descriptions find no 5xx and no bug."""

import asyncio
from typing import Any, Final

import pytest

from services.provisioning.enrolment.authority import pem, private_pem
from services.provisioning.enrolment.crl import RevocationList
from services.provisioning.enrolment.door import make_door
from services.provisioning.enrolment.limits import Gate
from services.provisioning.enrolment.model import Place as Address
from tests.integration.enrol_rig import KEY, Place
from tests.integration.fuzzer import fuzz, with_names

NOT_JSON: Final = "/api/admin/waitlist/import"
"""Takes JSON lines, which schemathesis cannot write."""


def names_in(place: Place) -> dict[str, list[str]]:
    """What stands in paths."""
    return {"tenant": [place.tenant, "a+/#"], "box": ["hems-900100", "nobody"], "device": ["sensor-1"]}


@pytest.fixture
async def place(place: Place, db: Any) -> Place:
    """With a sensor."""
    await db.execute("insert into device (tenant_id, device_id) values ($1, 'sensor-1')", place.tenant)
    return place


async def test_no_request_to_the_administrators_door_finds_a_bug(place: Place) -> None:  # P-031, P-032
    described = (await place.service.http.get("/openapi.json")).json()

    key = ("-H", f"X-Admin-Key: {KEY['X_Admin_Key']}")
    described = with_names(described, names_in(place))
    url, log = str(place.service.http.base_url), place.service.log_file
    await asyncio.to_thread(fuzz, place.directory, described, url, log, *key, "--exclude-path", NOT_JSON)


async def test_no_request_to_the_boxes_door_finds_a_bug(place: Place) -> None:
    box, told = await place.come_in("hems-900100")
    shown, root = place.directory / "shown.pem", place.directory / "root.pem"
    shown.write_text(private_pem(box.key).decode() + told["certificate"] + told["chain"])
    root.write_text(pem(place.authority.root))
    door = make_door(
        None,  # type: ignore[arg-type]  # described, not asked
        place.authority,
        Address("", "", 1, 1),
        crl=RevocationList(place.authority),
        gate=Gate(1),
        on_change=lambda: None,
    )

    trust = ("--tls-verify", str(root), "--request-cert", str(shown))
    await asyncio.to_thread(fuzz, place.directory, door.openapi(), place.url, place.service.log_file, *trust)
