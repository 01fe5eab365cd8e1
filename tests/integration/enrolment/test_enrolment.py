"""Bringing boxes in over real TLS: links, lost answers, wrong addresses, what is void."""

from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from services.provisioning.enrolment.authority import serial_of
from tests.integration.enrol_rig import EMAIL, Place, audit_rows

OTHER = "other@example.com"


async def test_a_box_comes_in_with_a_link_and_its_own_key(place: Place, db: Any) -> None:
    # H-012, H-013
    issued = await place.admin("POST", f"/boxes/{place.tenant}/hems-900100/enroll-tokens", {"email": EMAIL})
    token = issued.json()["token"]
    box = place.a_box()

    async with place.door() as http:
        cacerts = (await http.get("/cacerts")).content
    answer = await place.enrol(token, box)

    assert issued.json()["url"] == (f"{place.url}/enroll?root={place.authority.fingerprint}#{token}")
    chain = x509.load_pem_x509_certificates(cacerts)
    assert place.authority.fingerprint in [each.fingerprint(hashes.SHA256()).hex() for each in chain]
    told = answer.json()
    assert answer.status_code == 200
    assert (told["tenant"], told["box"], told["site"]) == (place.tenant, "hems-900100", "hems-900100")
    assert told["site_name"] == "Site of hems-900100"
    assert told["mqtt"]["port"] == 8883
    certificate = x509.load_pem_x509_certificate(told["certificate"].encode())
    assert certificate.subject.rfc4514_string() == f"CN={place.tenant}/hems-900100"
    assert certificate.public_key() == box.key.public_key()
    row = await db.fetchrow("select * from enrol_token")
    assert token not in "".join(str(value) for value in row.values())  # H-013: only a hash
    assert row["prefix"] == token[:8]
    assert (await db.fetchval("select mode from box where box_id = 'hems-900100'")) == "observe"
    assert (await db.fetchval("select enrolled_at from box where box_id = 'hems-900100'")) is not None
    (entry,) = await audit_rows(db, "box.enrolled")
    assert (entry["actor"], entry["target_id"]) == (f"{place.tenant}/hems-900100", "hems-900100")
    assert entry["detail"]["serial"] == told["serial"]


async def test_the_answer_holds_the_assets_as_a_file_would(place: Place, db: Any) -> None:
    await db.execute(
        "with d as (insert into device (tenant_id, device_id, site_id, box_id, type, name)"
        " values ($1, 'bat-1', 'hems-900100', 'hems-900100', 'battery', 'One') returning device_key)"
        " insert into asset (tenant_id, asset_id, device_key, capacity_mwh, max_mw, min_mw, details)"
        " select $1, 'bat-1', device_key, 120, 60, -60, $2 from d",
        place.tenant,
        '{"driver": "sunspec", "host": "10.0.0.5"}',
    )

    _, told = await place.come_in("hems-900100")

    assert told["assets"] == [
        {
            "id": "bat-1", "name": "One", "type": "battery", "location": "", "capacity_mwhr": 120.0,
            "max_mw": 60.0, "min_mw": -60.0, "efficiency": 1.0, "driver": "sunspec", "host": "10.0.0.5",
        }
    ]  # fmt: skip


async def test_a_box_of_the_assets_file_is_observed_first_when_it_enrols(place: Place, db: Any) -> None:
    await db.execute("update box set mode = 'active', opt_ins = '{battery}' where box_id = 'hems-900100'")

    await place.come_in("hems-900100")

    mode, epoch = await db.fetchrow("select mode, mode_epoch from box where box_id = 'hems-900100'")
    assert (mode, epoch) == ("observe", 2)
    (entry,) = await audit_rows(db, "box.mode_flip")
    assert entry["detail"]["before"]["mode"] == "active"


async def test_a_lost_answer_is_given_again_to_the_same_key_and_to_no_other(place: Place, db: Any) -> None:
    # H-013: single use
    token, box = await place.token("hems-900100"), place.a_box()

    first = await place.enrol(token, box)
    again = await place.enrol(token, box)
    other = await place.enrol(token, place.a_box())
    other_email = await place.enrol(token, box, OTHER)

    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json()["certificate"] == first.json()["certificate"]
    assert (other.status_code, other_email.status_code) == (410, 410)
    assert await db.fetchval("select count(*) from certificate") == 1
    refused = await audit_rows(db, "enrol.refused")
    assert [row["detail"]["reason"] for row in refused] == ["used", "used"]
    assert {row["target_id"] for row in refused} == {"hems-900100"}


async def test_a_wrong_address_is_403_burns_nothing_and_the_fifth_withdraws_the_token(
    place: Place, db: Any
) -> None:  # H-013
    token, box = await place.token("hems-900100"), place.a_box()
    kind = await place.token("hems-900101")

    assert [(await place.enrol(kind, box, OTHER)).status_code for _ in range(4)] == [403] * 4
    assert (await place.enrol(kind, box)).status_code == 200
    assert [(await place.enrol(token, box, OTHER)).status_code for _ in range(5)] == [403] * 5

    assert (await place.enrol(token, box)).status_code == 410
    tokens = (await place.admin("GET", f"/boxes/{place.tenant}/hems-900100/enroll-tokens")).json()
    assert [(each["state"], each["prefix"]) for each in tokens] == [("withdrawn", token[:8])]


async def test_unknown_used_expired_and_withdrawn_are_answered_byte_for_byte_alike(
    place: Place, db: Any
) -> None:  # H-013
    used, expired = await place.token("hems-900100"), await place.token("hems-900101")
    await place.enrol(used, place.a_box())
    await db.execute("update enrol_token set expires_at = now() where prefix = $1", expired[:8])
    disabled = await place.token("hems-900101")
    withdrawn = await place.token("hems-900101")  # and withdraws the one before
    gone = await place.admin("DELETE", f"/boxes/{place.tenant}/hems-900101/enroll-tokens/{withdrawn[:8]}")
    assert gone.status_code == 204

    answers = [
        await place.enrol(token, place.a_box())
        for token in (used, expired, disabled, withdrawn, "x" * 43, "", "а" * 43, used[:-1], "x\x00")
    ]

    assert {(answer.status_code, answer.content) for answer in answers} == {(410, answers[0].content)}
    assert {tuple(sorted(set(answer.headers) - {"date"})) for answer in answers} == {
        ("content-length", "content-type", "x-request-id")
    }


@pytest.mark.parametrize(
    ("table", "state"),
    [
        ("box", "disabled"),
        ("box", "decommissioned"),
        ("box", "erased"),
        ("device", "disabled"),
        ("tenant", "disabled"),
    ],
)
async def test_who_may_not_come_in_gets_no_token_and_cannot_use_one(
    place: Place, db: Any, table: str, state: str
) -> None:
    token = await place.token("hems-900100")
    key = {"box": "box_id", "device": "device_id", "tenant": "tenant_id"}[table]
    who = place.tenant if table == "tenant" else "hems-900100"
    await db.execute(f"update {table} set state = $1 where {key} = $2", state, who)

    refused = await place.admin("POST", f"/boxes/{place.tenant}/hems-900100/enroll-tokens", {"email": EMAIL})
    redeemed = await place.enrol(token, place.a_box())

    assert refused.status_code == 409
    assert state in refused.json()["detail"]
    assert redeemed.status_code == 410
    assert await db.fetchval("select count(*) from certificate") == 0
    # Nothing is burnt: once a person enables it, the token works.
    await db.execute(f"update {table} set state = 'active' where {key} = $1", who)
    assert (await place.enrol(token, place.a_box())).status_code == 200


async def test_serials_of_the_table_are_those_of_the_certificates(place: Place, db: Any) -> None:
    _, told = await place.come_in("hems-900100")

    row = await db.fetchrow("select serial, pem from certificate")
    assert row["serial"] == told["serial"] == serial_of(x509.load_pem_x509_certificate(row["pem"].encode()))
