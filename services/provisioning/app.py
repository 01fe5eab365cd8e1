"""The administrators' door: one router a noun, all of them behind X-Admin-Key."""

from collections.abc import Callable, Sequence

from fastapi import APIRouter, Depends, FastAPI
from starlette.routing import BaseRoute

from services.provisioning.boxes.routes import make_router as make_boxes
from services.provisioning.devices.routes import make_router as make_devices
from services.provisioning.key import KeyHolder
from services.provisioning.model import Barred, Taken, Unknown
from services.provisioning.sites.routes import make_router as make_sites
from services.provisioning.tenants.routes import make_router as make_tenants
from services.provisioning.waitlist.routes import make_router as make_waitlist
from services.runtime.postgres import Pool
from services.runtime.web import furnish


def make_app(
    pool: Pool,
    *,
    holder: KeyHolder,
    on_change: Callable[[], None],
    health: Sequence[BaseRoute],
    routers: Sequence[APIRouter] = (),
) -> FastAPI:
    """The application; `on_change` is called after each commit of which registry topic or broker must hear.

    `routers` are more nouns' routes; all of them come behind the key.
    """
    app = FastAPI(title="Overwatt provisioning", description="Who belongs to this platform.")
    furnish(app, {Taken: 409, Barred: 409, Unknown: 404})
    nouns = (
        make_tenants(pool, holder=holder, on_change=on_change),
        make_sites(pool, holder=holder, on_change=on_change),
        make_boxes(pool, holder=holder, on_change=on_change),
        make_devices(pool, holder=holder, on_change=on_change),
        make_waitlist(pool, holder=holder),
    )
    for router in (*nouns, *routers):
        app.include_router(router, prefix="/api/admin", dependencies=[Depends(holder)])
    app.router.routes.extend(health)
    return app
