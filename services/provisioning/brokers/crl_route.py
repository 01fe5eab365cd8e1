"""The revocation list over plain HTTP, on the administrators' port, for EMQX: it fetches the list from the
address in a certificate, and cannot be told whom to trust when that is https. The list is signed.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.provisioning.enrolment import authority_files
from services.provisioning.enrolment.crl import RevocationList
from services.provisioning.settings import Settings
from services.runtime import clock
from services.runtime.postgres import Pool


def crl_routes(settings: Settings, pool: Pool) -> list[Route]:
    """None without CRL_URL: then nobody asks."""
    if not settings.crl_url or not settings.authority_dir:
        return []
    crl = RevocationList(authority_files.load(settings.authority_dir))

    async def answer(_: Request) -> Response:
        return Response(await crl.current(pool, clock.now()), media_type="application/x-pem-file")

    return [Route("/crl.pem", answer)]
