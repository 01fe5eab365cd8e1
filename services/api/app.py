"""The application: one router a noun, and behind each the caller's identity."""

from collections.abc import Sequence
from typing import Final

from fastapi import Depends, FastAPI
from starlette.routing import BaseRoute

from services.api.account import endpoints as account
from services.api.account_data import endpoints as account_data
from services.api.admin import boxes, log, users, waitlist
from services.api.agents import endpoints as agents
from services.api.alerts import endpoints as alerts
from services.api.assets import endpoints as assets
from services.api.branding import endpoints as branding
from services.api.caller import Parts, admitted
from services.api.dispatch import endpoints as dispatch
from services.api.places import endpoints as places
from services.api.pro import endpoints as pro
from services.api.sites import endpoints as sites
from services.api.telemetry import endpoints as telemetry
from services.runtime.web import furnish

DESCRIPTION: Final = """
Fleets of batteries, PV, chargers and meters: what they do, and what they are told to do.

Send `Authorization: Bearer <token>`; the token says which tenant you see. From this machine no token is
needed in development. Power is positive on discharge, names carry units, times are UTC.
Errors are `{"detail": ..., "field": ..., "request_id": ...}`, and say what would be right.
"""
TAGS: Final = [
    {"name": "assets", "description": "The inventory."},
    {"name": "agents", "description": "Who is connected and speaks for which assets."},
    {"name": "sites", "description": "Sums over the assets of a site."},
    {"name": "telemetry", "description": "Latest values and history."},
    {"name": "dispatch", "description": "Power for an asset or a site, and what was measured since."},
    {"name": "alerts", "description": "What is wrong now, and what was."},
    {"name": "sites and devices", "description": "Where measurements belong."},
    {"name": "branding", "description": "How the tenant's pages look."},
    {"name": "account", "description": "The caller's own boxes."},
    {"name": "pro", "description": "For installers: devices and their addresses."},
    {"name": "admin", "description": "For operators: boxes, waitlist, users, audit log."},
]
NOUNS: Final = (
    assets,
    agents,
    sites,
    telemetry,
    dispatch,
    alerts,
    places,
    branding,
    account,
    account_data,
    pro,
    boxes,
    waitlist,
    users,
    log,
)


def make_app(parts: Parts, health: Sequence[BaseRoute]) -> FastAPI:
    """The application with its health routes, which alone ask nobody who they are."""
    app = FastAPI(title="Overwatt", description=DESCRIPTION, openapi_tags=TAGS)
    app.state.parts = parts
    furnish(app)
    for noun in NOUNS:
        app.include_router(noun.router, dependencies=[Depends(admitted)])
    app.router.routes.extend(health)
    return app
