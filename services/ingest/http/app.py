"""The door: whose token, how much, what it says; and the answer when it is committed."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final

from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from overwatt.reasons import Reason
from overwatt.topics import MAX_JSON_BYTES
from services.ingest import decode_json, metrics
from services.ingest.http import senders
from services.ingest.http.body import Item, Verdict, answer_of, items_of, schema
from services.ingest.http.handover import Handover
from services.ingest.http.senders import Sender, Stranger
from services.ingest.http.waiting import Full
from services.ingest.model import Member, Message, Rejected, Sample
from services.ingest.quotas import Quotas
from services.ingest.standing import standing
from services.runtime import clock
from services.runtime.errors import Invalid
from services.runtime.postgres import Pool, transaction
from services.runtime.web import Refusal, furnish

ONE: Final = "/ingest/v1/tenant/{tenant}/device/{device}/telemetry"
BATCH: Final = "/ingest/v1/batch"
MAX_BODY_BYTES: Final = 262_144
COMMITTED_WITHIN_S: Final = 10.0
MOST_REQUESTS: Final = 256
"""At once; each may hold a body of a quarter megabyte."""
LATER: Final = {"Retry-After": "5"}
_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "the body cannot be used; detail says which field"},
    401: {"description": "no token, or one that is unknown or was taken back"},
    403: {"description": "the token is of another device, or its device may not speak"},
    413: {"description": "the body is too large"},
    429: {"description": "too much at once; Retry-After says how long to wait"},
    503: {"description": "not committed; send the same again after Retry-After"},
}

Token = Annotated[str | None, Header(alias="X-Provision-Token")]
Bearer = Annotated[str | None, Header(alias="Authorization")]


@dataclass(frozen=True, slots=True)
class _Meant:
    """What a request comes to: a row or a verdict for each sample, and what is to be counted."""

    samples: list[tuple[Member, Sample] | Verdict]
    rejected: list[Rejected]


def make_app(
    pool: Pool, handover: Handover, quotas: Quotas, *, committed_within_s: float = COMMITTED_WITHIN_S
) -> FastAPI:
    """The application."""
    app = FastAPI(title="Overwatt: ingest by HTTP", docs_url=None, redoc_url=None, openapi_url=None)
    furnish(app, max_body_bytes=MAX_BODY_BYTES)
    in_hand = 0

    @app.post(ONE, status_code=202, responses=_ERRORS, openapi_extra=schema(batch=False))
    async def one(
        request: Request, tenant: str, device: str, token: Token = None, authorization: Bearer = None
    ) -> JSONResponse:
        """Samples of one device, as over MQTT: one, or a list of which all count or none (U-P06)."""

        async def work() -> list[Verdict]:
            sender = await _identify(pool, token, authorization)
            if (tenant, device) != (sender.member.tenant, sender.member.device):
                detail = (
                    f"this token is of {sender.member.tenant}/{sender.member.device}; the path names another"
                )
                raise Refusal(403, detail, field="path")
            body = await _body(request)
            if len(body) > MAX_JSON_BYTES:
                raise Refusal(413, f"the body has {len(body)} bytes; at most {MAX_JSON_BYTES} are read")
            _admit(quotas, sender.member, body)
            now_us = clock.to_us(clock.now())
            meaning = decode_json.decode(Message(request.url.path, body, "", now_us), sender.member)
            if isinstance(meaning, Rejected):
                await handover.reject([meaning], now_us)
                raise Refusal(400, meaning.detail, more={"reason": meaning.reason})
            meant = _Meant([(sender.member, sample) for sample in meaning.samples], [])
            return await _store(handover, body, meant, now_us)

        return await answer(work)

    @app.post(BATCH, status_code=202, responses=_ERRORS, openapi_extra=schema(batch=True))
    async def batch(request: Request, token: Token = None, authorization: Bearer = None) -> JSONResponse:
        """Up to 100 samples, each judged by itself, of the token's device and those it speaks for (U-P06)."""

        async def work() -> list[Verdict]:
            sender = await _identify(pool, token, authorization)
            body = await _body(request)
            items = items_of(body)
            _admit(quotas, sender.member, body)
            async with transaction(pool) as db:
                named = await senders.find_named(db, sender, [item for item in items if not item.wrong])
            now_us = clock.to_us(clock.now())
            return await _store(handover, body, _mean(items, named, sender.member, now_us), now_us)

        return await answer(work)

    async def answer(work: Callable[[], Awaitable[list[Verdict]]]) -> JSONResponse:
        nonlocal in_hand
        if in_hand >= MOST_REQUESTS:
            raise Refusal(503, "too many requests wait already; send it again later", headers=LATER)
        in_hand += 1
        try:
            async with asyncio.timeout(committed_within_s):
                verdicts = await work()
        except TimeoutError:
            metrics.HTTP_SAMPLES.labels("unanswered").inc()
            detail = (
                f"not committed within {committed_within_s:.0f} s; send the same again: "
                "what is stored by then is not stored twice"
            )
            raise Refusal(503, detail, headers=LATER) from None
        except Invalid as error:
            raise Refusal(400, str(error)) from error
        except Full:
            raise Refusal(
                503, "too many samples wait already; send them again later", headers=LATER
            ) from None
        finally:
            in_hand -= 1
        answered = answer_of(verdicts)
        metrics.HTTP_SAMPLES.labels("accepted").inc(answered["accepted"])
        metrics.HTTP_SAMPLES.labels("rejected").inc(answered["rejected"])
        return JSONResponse(answered, status_code=202)

    return app


async def _identify(pool: Pool, token: str | None, authorization: str | None) -> Sender:
    """Who sends. Raises Refusal."""
    scheme, _, bearer = (authorization or "").partition(" ")
    given = token or (bearer.strip() if scheme.lower() == "bearer" else "")
    challenge = {"WWW-Authenticate": "Bearer"}
    if not given:
        detail = "send the device's token as X-Provision-Token, or as Authorization: Bearer <token>"
        raise Refusal(401, detail, field="X-Provision-Token", headers=challenge)
    async with transaction(pool) as db:
        sender = await senders.find(db, given)
    if sender is None:
        detail = "this token is unknown or was taken back; the device needs a new activation code"
        raise Refusal(401, detail, field="X-Provision-Token", headers=challenge)
    if trouble := standing(sender.member):
        reason, detail = trouble
        raise Refusal(403, detail, more={"reason": reason})
    return sender


async def _body(request: Request) -> bytes:
    try:
        return await request.body()
    except ClientDisconnect:
        raise Refusal(400, "the connection ended before the body was whole") from None


def _admit(quotas: Quotas, member: Member, body: bytes) -> None:
    """A request counts as the MQTT messages that its bytes would have needed. Raises Refusal."""
    messages = max(1, math.ceil(len(body) / MAX_JSON_BYTES))
    wait_s = quotas.admit(member.tenant, member.device, messages, asyncio.get_running_loop().time())
    if wait_s:
        detail = (
            f"{member.device} or its tenant sends too much; wait {math.ceil(wait_s)} s, then send it again"
        )
        headers = {"Retry-After": str(math.ceil(wait_s))}
        raise Refusal(429, detail, headers=headers, more={"reason": Reason.RATE_LIMITED})


def _mean(items: Sequence[Item], named: Sequence[Member | Stranger], own: Member, now_us: int) -> _Meant:
    """Each item by itself; `named` are the devices of those whose names can be used."""
    meant, members = _Meant([], []), iter(named)
    for place, item in enumerate(items):
        refuse = partial(
            Rejected, tenant=own.tenant, device=own.device, topic=BATCH, payload=item.payload[:MAX_JSON_BYTES]
        )
        member = Stranger(Reason.MALFORMED, item.wrong) if item.wrong else next(members)
        rejected = None
        if isinstance(member, Stranger):
            asset = "" if item.wrong else item.device_id or item.external_id
            rejected = refuse(reason=member.reason, detail=member.detail, asset=asset[:60])
        elif len(item.payload) > MAX_JSON_BYTES:
            detail = f"{len(item.payload)} bytes of JSON; at most {MAX_JSON_BYTES} are taken"
            rejected = refuse(reason=Reason.PAYLOAD_TOO_LARGE, detail=detail)
        else:
            # Samples without a time of their own are kept apart by a microsecond each.
            meaning = decode_json.decode(Message(BATCH, item.payload, "", now_us + place), member)
            if isinstance(meaning, Rejected):
                rejected = meaning
            else:
                meant.samples.extend((member, sample) for sample in meaning.samples)
        if rejected:
            meant.rejected.append(rejected)
            meant.samples.append(Verdict(rejected.reason, rejected.detail))
    return meant


async def _store(handover: Handover, body: bytes, meant: _Meant, now_us: int) -> list[Verdict]:
    """The verdicts in the order of the samples."""
    rows = [each for each in meant.samples if not isinstance(each, Verdict)]
    if meant.rejected:
        await handover.reject(meant.rejected, now_us)
    reasons = iter(await handover.store(body, rows, now_us) if rows else [])
    return [each if isinstance(each, Verdict) else Verdict.of_writer(next(reasons)) for each in meant.samples]
