"""/api/branding: read by everybody of the tenant, set by who manages it."""

from fastapi import APIRouter, Depends, Request, Response

from services.api.audit import write as audit
from services.api.branding import store
from services.api.branding.schemas import Branding, type_of
from services.api.caller import Caller, TenantDb
from services.api.roles import MANAGERS, require
from services.runtime.web import Refusal

router = APIRouter(prefix="/api/branding", tags=["branding"])


@router.get("")
async def get_branding(who: Caller, db: TenantDb) -> Branding:
    """Name, colours, and the logo in Base64."""
    return await store.read(db, who.tenant)


@router.put("", dependencies=[Depends(require(*MANAGERS))])
async def put_branding(request: Request, body: Branding, who: Caller, db: TenantDb) -> Branding:
    """Set all of it: what is left out is not set any more."""
    await store.write(db, who.tenant, body)
    detail = {"name": body.name, "colours": body.colours, "logo_bytes": len(body.logo or b"")}
    await audit.write(db, who, request, "branding.change", ("tenant", who.tenant), detail)
    return body


@router.get("/logo", response_class=Response, responses={200: {"content": {"image/*": {}}}})
async def get_logo(who: Caller, db: TenantDb) -> Response:
    """The picture itself. 404 while there is none."""
    logo = (await store.read(db, who.tenant)).logo
    if logo is None:
        raise Refusal(404, "this tenant has no logo; PUT /api/branding sets one")
    return Response(logo, media_type=type_of(logo), headers={"X-Content-Type-Options": "nosniff"})
