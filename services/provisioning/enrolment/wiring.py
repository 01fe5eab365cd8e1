"""Enrolment as the settings have it: administrators' routes, the boxes' door, what keeps both fresh."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter

from services.provisioning.enrolment import authority_files
from services.provisioning.enrolment.authority import Authority
from services.provisioning.enrolment.crl import RevocationList
from services.provisioning.enrolment.door import make_door
from services.provisioning.enrolment.limits import Gate
from services.provisioning.enrolment.model import Place
from services.provisioning.enrolment.routes import make_router
from services.provisioning.enrolment.tls import keep_certificate_fresh, server_context
from services.provisioning.key import KeyHolder
from services.provisioning.settings import Settings
from services.runtime.errors import Invalid
from services.runtime.http import bind, serve
from services.runtime.log import get_logger
from services.runtime.postgres import Pool

log = get_logger(__name__)


def make_enrolment(
    settings: Settings,
    pool: Pool,
    *,
    holder: KeyHolder,
    on_change: Callable[[], None],
) -> tuple[list[APIRouter], dict[str, Coroutine[Any, Any, None]]]:
    """Routes and tasks; none without AUTHORITY_DIR, which production refuses."""
    if settings.authority_dir is None:
        if settings.in_production:
            raise SystemExit(
                "Error: AUTHORITY_DIR is not set, so no box could enrol or renew; ENVIRONMENT=production "
                "needs it. `python -m services.provisioning authority init --directory DIR` makes one."
            )
        log.info("AUTHORITY_DIR is not set: no enrolment")
        return [], {}
    if settings.in_production and not settings.enrol_url:
        raise SystemExit(
            "Error: ENROL_URL is not set, so links would lead boxes to localhost; ENVIRONMENT=production "
            "needs the door's address as boxes see it, such as https://energy.example.com:8443."
        )
    authority = _load(settings)
    names = settings.enrol_server_names
    context = server_context(authority, names)
    listener = bind(settings.enrol_host, settings.enrol_port, variable="ENROL_PORT")
    port = listener.getsockname()[1]
    place = Place(
        enrol_url=settings.enrol_url or f"https://{names[0]}:{port}",
        mqtt_host=settings.mqtt_public_host,
        mqtt_tls_port=settings.mqtt_tls_port,
        mqtt_token_port=settings.mqtt_token_port,
    )
    crl = RevocationList(authority)
    door = make_door(
        pool,
        authority,
        place,
        crl=crl,
        gate=Gate(settings.enrol_failures_per_minute),
        on_change=on_change,
    )
    router = make_router(pool, authority, place, holder=holder, on_change=on_change)
    log.info("enrolment", url=place.enrol_url, port=port, root_sha256=authority.fingerprint)
    return [router], {
        "enrol": serve(door, listener, tls=context),
        "enrol certificate": keep_certificate_fresh(context, authority, names),
        "revocation list": crl.keep_fresh(pool),
    }


def _load(settings: Settings) -> Authority:
    assert settings.authority_dir is not None
    try:
        return authority_files.load(settings.authority_dir, crl_url=settings.crl_url)
    except Invalid as error:
        raise SystemExit(f"Error: AUTHORITY_DIR: {error}") from error
