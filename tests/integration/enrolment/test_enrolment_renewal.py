"""Replacement, revocation and renewal: which certificate is good, and which ends the handshake."""

import asyncio
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.provisioning.enrolment import authority_files
from services.provisioning.enrolment.authority import pem
from services.runtime import clock
from tests.integration.enrol_rig import Place, audit_rows


async def test_a_new_token_for_a_box_that_is_in_replaces_it(place: Place, db: Any) -> None:
    old_box, old = await place.come_in("hems-900100")
    await db.execute("update box set mode = 'active' where box_id = 'hems-900100'")
    before = await db.fetchrow("select device_key, box_id from device where device_id = 'hems-900100'")

    token, new_box = await place.token("hems-900100"), place.a_box()
    new = (await place.enrol(token, new_box)).json()
    again = (await place.enrol(token, new_box)).json()

    assert again["certificate"] == new["certificate"]  # a lost answer, also of a replacement
    assert (
        await db.fetchrow("select device_key, box_id from device where device_id = 'hems-900100'") == before
    )
    assert await db.fetchval("select mode from box where box_id = 'hems-900100'") == "active"
    listed = (await place.admin("GET", f"/boxes/{place.tenant}/hems-900100/certificates")).json()
    assert [(each["serial"], each["via"], each["state"]) for each in listed] == [
        (new["serial"], "replace", "current"),
        (old["serial"], "enrol", "revoked"),
    ]
    assert listed[1]["revoke_reason"] == "superseded"
    cuts = await db.fetch("select device_id, reason from session_cut")
    assert [tuple(row) for row in cuts] == [("hems-900100", "superseded")]
    assert len(await audit_rows(db, "box.replaced")) == 1
    refused = await place.post("/renew", {"csr": old_box.csr}, place.shows(old_box, old))
    assert refused.status_code == 403
    async with place.door() as http:
        crl = x509.load_pem_x509_crl((await http.get("/crl.pem")).content)
    assert [f"{entry.serial_number:x}" for entry in crl] == [old["serial"]]


async def test_a_revoked_box_is_out_until_a_new_token_is_redeemed(place: Place, db: Any) -> None:
    box, told = await place.come_in("hems-900100")
    open_token = await place.token("hems-900100")
    path = f"/boxes/{place.tenant}/hems-900100"

    revoked = await place.admin("POST", f"{path}/revoke", {"reason": "stolen"})

    assert revoked.json() == {"tenant_id": place.tenant, "device_id": "hems-900100", "state": "revoked"}
    assert (await place.post("/renew", {"csr": box.csr}, place.shows(box, told))).status_code == 403
    assert (await place.enrol(open_token, box)).status_code == 410
    assert await db.fetchval("select count(*) from session_cut where device_id = 'hems-900100'") == 1
    (entry,) = await audit_rows(db, "box.revoked")
    assert entry["detail"] == {"before": "active", "reason": "stolen"}
    states = "select b.state, d.state from box b join device d on d.device_id = b.box_id where b.box_id = $1"
    assert tuple(await db.fetchrow(states, "hems-900100")) == ("revoked", "revoked")
    _, back = await place.come_in("hems-900100")
    assert tuple(await db.fetchrow(states, "hems-900100")) == ("active", "active")
    assert back["serial"] != told["serial"]
    assert (await place.post("/renew", {"csr": box.csr}, place.shows(box, told))).status_code == 403


async def test_the_lost_answer_of_a_revoked_box_is_not_given_again(place: Place) -> None:
    token, box = await place.token("hems-900100"), place.a_box()
    await place.enrol(token, box)
    await place.admin("POST", f"/boxes/{place.tenant}/hems-900100/revoke")

    assert (await place.enrol(token, box)).status_code == 410


async def test_a_box_renews_by_its_certificate_with_a_new_key_and_the_old_one_stays_good(
    place: Place, db: Any
) -> None:
    box, told = await place.come_in("hems-900100")
    successor = place.a_box()

    answer = await place.post("/renew", {"csr": successor.csr}, place.shows(box, told))
    again = await place.post("/renew", {"csr": successor.csr}, place.shows(box, told))

    renewed = answer.json()
    assert answer.status_code == 200
    assert again.json()["certificate"] == renewed["certificate"]  # a lost answer costs nothing
    certificate = x509.load_pem_x509_certificate(renewed["certificate"].encode())
    assert certificate.subject.rfc4514_string() == f"CN={place.tenant}/hems-900100"
    assert certificate.public_key() == successor.key.public_key()
    listed = (await place.admin("GET", f"/boxes/{place.tenant}/hems-900100/certificates")).json()
    assert [(each["via"], each["state"]) for each in listed] == [
        ("renew", "current"),
        ("enrol", "superseded"),
    ]
    assert (await place.post("/renew", {"csr": box.csr}, place.shows(successor, renewed))).status_code == 200
    assert (await audit_rows(db, "certificate.renewed"))[0]["detail"]["before"] == told["serial"]
    assert await db.fetchval("select count(*) from session_cut") == 0


async def test_a_box_that_renews_without_end_is_stopped(place: Place, db: Any) -> None:
    box, told = await place.come_in("hems-900100")
    context = place.shows(box, told)

    answers = [await place.post("/renew", {"csr": place.a_box().csr}, context) for _ in range(31)]

    assert [answer.status_code for answer in answers] == [200] * 30 + [429]
    assert int(answers[-1].headers["retry-after"]) > 60
    assert await db.fetchval("select count(*) from certificate") == 31


async def test_renewal_without_a_certificate_is_401(place: Place) -> None:
    answer = await place.post("/renew", {"csr": place.a_box().csr})

    assert answer.status_code == 401
    assert "client certificate" in answer.json()["detail"]


async def test_a_certificate_of_our_authority_that_is_no_boxs_cannot_renew(place: Place) -> None:
    box = place.a_box()
    for issued in (
        place.authority.mint_client(f"{place.tenant}/hems-900100", 5, clock.now()),
        place.authority.mint_service("svc-ingest-0", clock.now()),
    ):
        path = box.directory / "minted.pem"
        path.write_bytes(issued.key + issued.certificate)
        context = box.context(place.authority.root)
        context.load_cert_chain(path)

        assert (await place.post("/renew", {"csr": box.csr}, context)).status_code == 403


@pytest.mark.parametrize("which", ["expired", "not yet valid", "of a foreign authority", "of a server"])
async def test_a_certificate_that_cannot_be_believed_ends_the_handshake(
    place: Place, tmp_path: Path, which: str
) -> None:
    authority, now = place.authority, clock.now()
    if which == "of a foreign authority":
        authority_files.init(tmp_path / "foreign", now)
        authority = authority_files.load(tmp_path / "foreign")
    offset = {"expired": timedelta(days=-92), "not yet valid": timedelta(days=50)}.get(which, timedelta())
    box = place.a_box()
    if which == "expired":  # the authority itself is too young to have issued it: say so with its own key
        certificate = outside_its_time(authority_key(place), place, box, now - timedelta(days=1), now)
    elif which == "not yet valid":
        certificate = outside_its_time(authority_key(place), place, box, now + offset, now + offset * 2)
    elif which == "of a server":
        issued = authority.mint_server(["localhost"], [], now)
        path = tmp_path / "server.pem"
        path.write_bytes(issued.key + issued.certificate)
        context = box.context(place.authority.root)
        context.load_cert_chain(path)
        with pytest.raises((httpx2.TransportError, ssl.SSLError)):
            await place.post("/renew", {"csr": box.csr}, context)
        return
    else:
        certificate = authority.issue_device(box.key.public_key(), place.tenant, "hems-900100", now)
    context = box.context(place.authority.root, pem(certificate), pem(authority.issuing))

    with pytest.raises((httpx2.TransportError, ssl.SSLError)):
        await place.post("/renew", {"csr": box.csr}, context)
    assert "Traceback" not in place.service.log_file.read_text()


def authority_key(place: Place) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(
        (place.directory / "authority" / "issuing.key").read_bytes(), None
    )
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def outside_its_time(
    key: ec.EllipticCurvePrivateKey, place: Place, box: Any, start: Any, end: Any
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{place.tenant}/hems-900100")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(place.authority.issuing.subject)
        .public_key(box.key.public_key())
        .serial_number(7)
        .not_valid_before(start)
        .not_valid_after(end - timedelta(minutes=1))
        .sign(key, hashes.SHA256())
    )


@pytest.mark.parametrize("table", ["box", "device", "tenant"])
async def test_a_box_that_is_not_active_does_not_renew(place: Place, db: Any, table: str) -> None:
    box, told = await place.come_in("hems-900100")
    await db.execute(f"update {table} set state = 'disabled'")

    answer = await place.post("/renew", {"csr": box.csr}, place.shows(box, told))

    assert (answer.status_code, "not active" in answer.json()["detail"]) == (403, True)
    (entry,) = await audit_rows(db, "enrol.refused")
    assert entry["detail"]["reason"] == "state"


async def test_revoking_while_boxes_renew_leaves_no_certificate_that_is_good(place: Place, db: Any) -> None:
    box, told = await place.come_in("hems-900100")
    context = place.shows(box, told)

    await asyncio.gather(
        *(place.post("/renew", {"csr": place.a_box().csr}, context) for _ in range(20)),
        place.admin("POST", f"/boxes/{place.tenant}/hems-900100/revoke"),
    )

    assert await db.fetchval("select count(*) from certificate where revoked_at is null") == 0
