"""Bad input and attack at both doors."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from services.provisioning.enrolment import authority_files
from services.runtime import clock
from tests.integration.door_rig import a_service
from tests.integration.enrol_rig import EMAIL, Place, a_place, add_boxes, add_tokens, raw


async def test_a_request_with_a_foreign_subject_gets_our_name(place: Place) -> None:
    token, box = await place.token("hems-900100"), place.a_box()
    foreign = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tenant-b/admin")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(foreign).sign(box.key, hashes.SHA256())

    answer = await place.enrol(token, box, csr=csr.public_bytes(serialization.Encoding.PEM).decode())

    certificate = x509.load_pem_x509_certificate(answer.json()["certificate"].encode())
    assert certificate.subject.rfc4514_string() == f"CN={place.tenant}/hems-900100"


async def test_a_bad_request_is_422_says_why_and_burns_nothing(place: Place, db: Any) -> None:
    token, box = await place.token("hems-900100"), place.a_box()
    wants_ca = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(box.key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        .decode()
    )
    for csr in ("no request", wants_ca, box.csr[:100], box.csr * 2, "x" * 16_385):
        answer = await place.enrol(token, box, csr=csr)

        assert answer.status_code == 422, csr[:50]
        assert "csr" in answer.json()["detail"]

    assert (await place.enrol(token, box)).status_code == 200


async def test_enormous_truncated_and_odd_bodies_do_no_harm(place: Place) -> None:
    async with place.door() as http:
        headers = {"content-type": "application/json"}
        for content, status in (
            (b"x" * 40_000, 413),
            (b'{"token": "' + b"x" * 40_000, 413),
            (b"", 422),
            (b"{", 422),
            (b"[1]", 422),
            (b"\xff\xfe", 422),
            (b'{"token": "\\ud800", "email": "a@b.c", "csr": ""}', 422),
            (b'{"token": 1, "email": [], "csr": null}', 422),
            (b"[" * 20_000, 400),
        ):
            answer = await http.post("/enroll", content=content, headers=headers)
            assert answer.status_code == status, content[:60]
        assert (await http.get("/docs")).status_code == 404
        assert (await http.get("/openapi.json")).status_code == 404
        assert (await http.get("/api/admin/devices")).status_code == 404
        assert (await http.get("/enroll")).status_code == 405
    head = (
        b"POST /enroll HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n"
    )
    await raw(place, head + b'{"token": "abc', then_close=True)
    assert (await raw(place, b"\x00\xff garbage\r\n\r\n")).startswith(b"HTTP/1.1 400")
    assert (await place.post("/enroll", {})).status_code == 422
    assert "this is a bug" not in place.service.log_file.read_text()
    assert "Traceback" not in place.service.log_file.read_text()


async def test_no_token_no_key_and_no_address_of_a_person_is_in_the_log(place: Place) -> None:
    token = await place.token("hems-900100")
    box = place.a_box()
    told = (await place.enrol(token, box)).json()
    await place.enrol(token, place.a_box())
    await place.enrol("t0ps3cr3t-" * 4, box, csr="no request")
    await place.post("/renew", {"csr": box.csr}, place.shows(box, told))

    text = place.service.log_file.read_text()

    assert "certificate given" in text
    for secret in (token, token[8:20], EMAIL, "PRIVATE", "t0ps3cr3t"):
        assert secret not in text


async def test_whoever_fails_too_often_waits_and_is_told_how_long(
    tmp_path: Path, role_url: Callable[[str], str], db: Any
) -> None:
    async with a_place(tmp_path, role_url("provisioning"), ENROL_FAILURES_PER_MINUTE="5") as place:
        await add_boxes(db, place.tenant, "hems-900100")
        answers = [await place.enrol(f"guess-{n}" * 5, place.a_box()) for n in range(6)]

        assert [answer.status_code for answer in answers] == [410] * 5 + [429]
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 12


async def test_one_token_is_tried_ten_times_and_no_more(place: Place) -> None:
    token = await place.token("hems-900100")
    await place.enrol(token, place.a_box())

    answers = [await place.enrol(token, place.a_box()) for _ in range(11)]

    assert [answer.status_code for answer in answers] == [410] * 10 + [429]
    assert (await place.enrol(await place.token("hems-900101"), place.a_box())).status_code == 200


async def test_every_route_of_administrators_needs_the_key(place: Place) -> None:  # P-031, P-032
    box, device = f"/boxes/{place.tenant}/hems-900100", f"/devices/{place.tenant}/sensor-1"
    for method, path in [
        ("POST", f"{box}/enroll-tokens"), ("GET", f"{box}/enroll-tokens"), ("GET", f"{box}/certificates"),
        ("DELETE", f"{box}/enroll-tokens/abcdefgh"), ("POST", f"{box}/revoke"),
        ("POST", f"{device}/activation-code"), ("POST", f"{device}/rotate-token"),
        ("POST", f"{device}/revoke"),
    ]:  # fmt: skip
        for headers in ({}, {"X_Admin_Key": ""}, {"X_Admin_Key": "change-me-noW"}):
            answer = await place.service.ask(method, f"/api/admin{path}", {"email": EMAIL}, **headers)
            assert answer.status_code == 401, (method, path, headers)


async def test_names_and_values_that_cannot_be_are_422_or_404(place: Place) -> None:
    for path in ("Hems", "a+b", "a%23", "$sys", "a%00b", "а", "hems-900100 ", "x" * 37):
        answer = await place.admin("POST", f"/boxes/{place.tenant}/{path}/enroll-tokens", {"email": EMAIL})
        assert answer.status_code in (404, 422), path
    assert (
        await place.admin("POST", "/boxes/tenant-b/hems-900100/enroll-tokens", {"email": EMAIL})
    ).status_code == 404
    for body in (
        {}, {"email": ""}, {"email": "nobody"}, {"email": "a@b@c"}, {"email": "a b@c"}, {"email": "a@b\n"},
        {"email": "a" * 251 + "@b.c"}, {"email": EMAIL, "ttl_s": 0}, {"email": EMAIL, "ttl_s": 259_201},
    ):  # fmt: skip
        answer = await place.admin("POST", f"/boxes/{place.tenant}/hems-900100/enroll-tokens", body)
        assert answer.status_code == 422, body
    longest = await place.admin(
        "POST", f"/boxes/{place.tenant}/hems-900100/enroll-tokens", {"email": EMAIL, "ttl_s": 259_200}
    )
    assert longest.status_code == 201


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"AUTHORITY_DIR": "/nowhere"}, "cannot read /nowhere/root.pem"),
        ({"ENROL_URL": "http://boxes.example.com"}, "ENROL_URL: Value error, must begin with https://"),
        ({"ENVIRONMENT": "production"}, "ENROL_URL is not set"),
        ({"ENVIRONMENT": "production", "AUTHORITY_DIR": ""}, "AUTHORITY_DIR"),
    ],
)
async def test_what_cannot_work_ends_the_process_with_a_sentence(
    tmp_path: Path, role_url: Callable[[str], str], settings: dict[str, str], said: str
) -> None:
    authority_files.init(tmp_path / "authority", clock.now())
    environment = {
        "DATABASE_URL": role_url("provisioning"),
        "AUTHORITY_DIR": str(tmp_path / "authority"),
        "ENROL_PORT": "0",
        "PROVISION_ADMIN_KEY": "a-key-of-our-own",
        "BROKER_KIND": "emqx",
        **settings,
    }
    given = {name: value for name, value in environment.items() if value}
    async with a_service("provisioning", tmp_path, given, until_ready=False) as service:
        assert await asyncio.wait_for(service.process.wait(), 30) != 0
        assert said in service.log_file.read_text()


async def test_a_token_brings_in_the_box_that_it_was_issued_for_and_no_other(place: Place, db: Any) -> None:
    await add_boxes(db, "tenant-b", "their-box")
    [token] = await add_tokens(db, "tenant-b", "their-box")
    ours, told = await place.come_in("hems-900100")

    answer = await place.post(
        "/enroll", {"token": token, "email": EMAIL, "csr": ours.csr}, place.shows(ours, told)
    )

    # Neither the client certificate nor anything in the request says who it is.
    assert (answer.json()["tenant"], answer.json()["box"]) == ("tenant-b", "their-box")
    assert (await place.admin("GET", "/boxes/tenant-b/hems-900100/certificates")).status_code == 404
    gone = await place.admin("DELETE", f"/boxes/{place.tenant}/hems-900100/enroll-tokens/{token[:8]}")
    assert gone.status_code == 404
