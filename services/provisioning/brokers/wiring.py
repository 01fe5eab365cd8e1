"""The keeper of the broker that the settings name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx2

from services.provisioning.brokers.emqx import Emqx
from services.provisioning.brokers.keeper import Broker, Keeper
from services.provisioning.brokers.mosquitto import Mosquitto
from services.provisioning.enrolment import authority_files
from services.provisioning.settings import Settings
from services.runtime.errors import Invalid
from services.runtime.postgres import Pool

EMQX_TIMEOUT_S: Final = 4.0


@asynccontextmanager
async def a_keeper(settings: Settings, pool: Pool) -> AsyncIterator[Keeper | None]:
    """None: there is no broker to keep, which production refuses."""
    if settings.broker_kind == "mosquitto":
        yield Keeper(pool, _mosquitto(settings, settings.mosquitto_dir, settings.authority_dir))
    elif settings.broker_kind == "emqx":
        key, secret = settings.emqx_api_key, settings.emqx_api_secret.get_secret_value()
        async with httpx2.AsyncClient(
            base_url=settings.emqx_api_url, auth=(key, secret), timeout=EMQX_TIMEOUT_S
        ) as http:
            yield Keeper(pool, Emqx(http))
    elif settings.in_production:
        raise SystemExit(
            "Error: BROKER_KIND is none, so who is revoked would stay connected; ENVIRONMENT=production "
            "needs mosquitto or emqx."
        )
    else:
        yield None


def _mosquitto(settings: Settings, directory: Path | None, authority_dir: Path | None) -> Broker:
    if directory is None or authority_dir is None:
        raise SystemExit(
            "Error: BROKER_KIND=mosquitto needs MOSQUITTO_DIR (where Mosquitto reads acl, passwords and "
            "crl.pem and writes mosquitto.pid) and AUTHORITY_DIR."
        )
    try:
        authority = authority_files.load(authority_dir)
    except Invalid as error:
        raise SystemExit(f"Error: AUTHORITY_DIR: {error}") from error
    return Mosquitto(
        directory,
        authority,
        host=settings.mqtt_admin_host,
        port=settings.mqtt_admin_port,
        development=not settings.in_production,
    )
