"""The boxes' door on 8443: the root, enrolment, renewal, activation, the revocation list. Nothing else.

Everybody can reach it. What is unknown, used, expired or withdrawn is answered alike, byte for byte; whoever
fails too often has to wait; at most a few requests at a time reach the database, the others stand in line.
"""

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

from cryptography import x509
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from services.provisioning.boxes import assets
from services.provisioning.enrolment import admission, metrics, requests, simple, store
from services.provisioning.enrolment.authority import Authority
from services.provisioning.enrolment.crl import RevocationList
from services.provisioning.enrolment.limits import Gate, Strikes, TooMany, address_key
from services.provisioning.enrolment.model import Admitted, Applicant, Place, Reason, Refused
from services.provisioning.enrolment.schemas import Activate, Activation, Admission, Enrol, Mqtt, Renew
from services.provisioning.enrolment.tokens import PREFIX
from services.provisioning.model import Author
from services.runtime import clock
from services.runtime.log import get_logger
from services.runtime.postgres import Connection, Pool, transaction
from services.runtime.web import Refusal, furnish, request_id_of

log = get_logger(__name__)

MAX_BODY_BYTES: Final = 32_768
AT_ONCE: Final = 6
"""Requests in the database, of a pool of 8."""
WRONG_EMAILS: Final = 5
STRANGER: Final = "stranger"
"""Who acts in the audit log until a token or certificate says who it is."""

GONE: Final = {
    "detail": "this token or code is unknown, used, expired or withdrawn; ask for a new one",
    "field": None,
}
NOT_RENEWED: Final[dict[Reason, str]] = {
    "foreign": "this certificate is not one of a box; enrol with a token",
    "revoked": "this certificate is revoked; the box needs a new enrolment token",
    "expired": "this certificate is expired; the box needs a new enrolment token",
    "state": "this box is not active; an administrator has to enable it, or issue an enrolment token",
}
PEM: Final = "application/x-pem-file"
_PEM_ANSWER: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {PEM: {}}}}
_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "the body cannot be read"},
    413: {"description": "the body is too large"},
    429: {"description": "too many failures; Retry-After says how long to wait"},
    503: {"description": "a part of the platform does not answer"},
}


class Gone(Exception):
    """One answer for all tokens and codes that open nothing."""


def make_door(
    pool: Pool,
    authority: Authority,
    place: Place,
    *,
    crl: RevocationList,
    gate: Gate,
    on_change: Callable[[], None],
) -> FastAPI:
    """The application; `on_change` after each commit that others have to hear of."""
    app = FastAPI(
        title="Overwatt: the boxes' door",
        description="Enrolment and renewal of certificates over TLS.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    furnish(app, max_body_bytes=MAX_BODY_BYTES)
    turn = asyncio.Semaphore(AT_ONCE)
    strikes = Strikes(WRONG_EMAILS)

    @app.exception_handler(Gone)
    async def gone(request: Request, error: Gone) -> JSONResponse:
        return JSONResponse(GONE, status_code=410)

    @app.get("/cacerts", response_class=Response, responses=_PEM_ANSWER)
    async def cacerts() -> Response:
        """Root and issuing certificate, PEM; believe them when the root's SHA-256 is that of your link."""
        return Response(authority.chain, media_type=PEM)

    @app.get("/crl.pem", response_class=Response, responses={**_PEM_ANSWER, 503: _ERRORS[503]})
    async def crl_pem() -> Response:
        """The revocation list, PEM."""
        async with turn:
            return Response(await crl.current(pool, clock.now()), media_type=PEM)

    @app.post(
        "/enroll",
        responses={
            **_ERRORS,
            403: {"description": "the token was issued to another e-mail"},
            410: {"description": "unknown, used, expired or withdrawn"},
        },
    )
    async def enroll(request: Request, body: Enrol) -> Admission:
        """A certificate for the holder of a token. The same token and key again: the same certificate."""
        with attempt(request, body.token[:PREFIX]):
            applicant = _applicant(request, body.csr)
            async with turn, transaction(pool) as db:
                outcome = await admission.enrol(
                    db, authority, body.token, body.email, applicant, clock.now(), strikes=strikes
                )
                answer = await admitted(db, outcome)
            _count(outcome)
            if outcome == Refused("email"):
                raise Refusal(403, "this token was issued to another e-mail", field="email")
            if answer is None:
                raise Gone
        on_change()
        return answer

    @app.post(
        "/renew",
        responses={
            **_ERRORS,
            401: {"description": "the connection has no client certificate"},
            403: {"description": "this certificate cannot be renewed"},
        },
    )
    async def renew(request: Request, body: Renew) -> Admission:
        """A new certificate for the holder of a current one, which stays good until it expires."""
        with attempt(request):
            der: bytes | None = getattr(request.state, "client_certificate", None)
            if der is None:
                raise Refusal(401, "renewal needs the box's current certificate as TLS client certificate")
            applicant = _applicant(request, body.csr)
            presented = x509.load_der_x509_certificate(der)
            gate.renewal(time.monotonic(), presented.subject.rfc4514_string())
            async with turn, transaction(pool) as db:
                outcome = await admission.renew(db, authority, presented, applicant, clock.now())
                answer = await admitted(db, outcome)
            _count(outcome)
            if isinstance(outcome, Refused):
                raise Refusal(403, NOT_RENEWED[outcome.reason])
        assert answer is not None
        return answer

    @app.post("/activate", responses={**_ERRORS, 410: {"description": "unknown, used or expired"}})
    @app.post("/api/device/activate", include_in_schema=False)
    async def activate(request: Request, body: Activate) -> Activation:
        """The token of a simple device, for the holder of its code (U-P08)."""
        with attempt(request):
            async with turn, transaction(pool) as db:
                done = await simple.activate(db, body.code, _author(request), clock.now())
            metrics.ACTIVATIONS.labels("activated" if done else "refused").inc()
            if done is None:
                raise Gone
        on_change()
        return Activation(
            tenant=done.owner.tenant_id,
            device=done.owner.device_id,
            username=done.username,
            token=done.token,
            mqtt=Mqtt(host=place.mqtt_host, port=place.mqtt_token_port),
            server_time=clock.now(),
        )

    def attempt(request: Request, token: str | None = None) -> AbstractContextManager[None]:
        keys = {"address": address_key(request.client.host if request.client else None)}
        if token:
            keys["token"] = token
        return gate.attempt(time.monotonic(), Refusal, Gone, **keys)

    @app.exception_handler(TooMany)
    async def too_many(request: Request, error: TooMany) -> JSONResponse:
        metrics.LIMITED.labels(error.by).inc()
        wait_s = math.ceil(error.wait_s)
        return JSONResponse(
            {
                "detail": f"too many tries by this {error.by}; wait {wait_s} s",
                "field": None,
                "request_id": request_id_of(request),
            },
            status_code=429,
            headers={"Retry-After": str(wait_s)},
        )

    async def admitted(db: Connection, outcome: Admitted | Refused) -> Admission | None:
        if isinstance(outcome, Refused):
            return None
        certificate = outcome.certificate
        tenant, box = certificate.tenant_id, certificate.device_id
        site, site_name = await store.read_site(db, tenant, box)
        return Admission(
            certificate=certificate.pem,
            chain=authority.chain,
            tenant=tenant,
            box=box,
            site=site,
            site_name=site_name,
            mqtt=Mqtt(host=place.mqtt_host, port=place.mqtt_tls_port),
            enrol_url=place.enrol_url,
            not_before=certificate.not_before,
            not_after=certificate.not_after,
            serial=certificate.serial,
            assets=await assets.read(db, tenant, box),
            server_time=clock.now(),
        )

    return app


def _applicant(request: Request, csr: str) -> Applicant:
    try:
        key = requests.key_of(csr)
    except requests.BadRequest as error:
        raise Refusal(422, str(error), field="csr") from error
    return Applicant(key, requests.spki_sha256(key), _author(request))


def _author(request: Request) -> Author:
    return Author(STRANGER, request.client.host if request.client else None, request_id_of(request))


def _count(outcome: Admitted | Refused) -> None:
    match outcome:
        case Admitted(certificate, via):
            metrics.ENROLMENTS.labels(via).inc()
            log.info(
                "certificate given",
                via=via,
                tenant=certificate.tenant_id,
                box=certificate.device_id,
                serial=certificate.serial,
            )
        case Refused(reason):
            metrics.ENROLMENTS.labels(reason).inc()
            log.warning("certificate refused", reason=reason)
