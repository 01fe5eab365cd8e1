"""The process `python -m services.ingest http`."""

from collections.abc import Coroutine
from typing import Any

from services.ingest.http.app import make_app
from services.ingest.http.handover import Handover
from services.ingest.http.tls import keep_certificate_fresh, server_context
from services.ingest.quotas import Quotas
from services.ingest.settings import Settings
from services.runtime.http import bind, serve
from services.runtime.log import get_logger
from services.runtime.postgres import connect_pool, is_reachable
from services.runtime.service import event_check, run_until_stopped

log = get_logger(__name__)


async def http(settings: Settings) -> None:
    """Wire the door and run it."""
    tls, tasks = None, dict[str, Coroutine[Any, Any, None]]()
    if (certificate := settings.ingest_http_cert) and (key := settings.ingest_http_key):
        tls = server_context(certificate, key)
        tasks["certificate"] = keep_certificate_fresh(tls, certificate, key)
    elif settings.in_production:
        raise SystemExit(
            "Error: INGEST_HTTP_CERT and INGEST_HTTP_KEY are not set; ENVIRONMENT=production needs TLS "
            "(`python -m services.provisioning authority server` makes such a pair)."
        )
    listener = bind(settings.ingest_http_host, settings.ingest_http_port, variable="INGEST_HTTP_PORT")
    handover = Handover(settings.kafka_bootstrap, most_waiting=settings.ingest_queue_size)
    async with connect_pool(settings.database_url, name="ingest-http") as pool:
        app = make_app(pool, handover, quotas_of(settings))
        scheme, port = "https" if tls else "http", listener.getsockname()[1]
        log.info("ingest by HTTP", url=f"{scheme}://{settings.ingest_http_host}:{port}/ingest/v1")
        await run_until_stopped(
            "ingest-http",
            settings,
            {
                "door": serve(app, listener, tls=tls),
                "outcomes": handover.listen(),
                "producer": handover.speak(),
                **tasks,
            },
            checks={
                "outcomes": event_check(handover.is_listening, "listening to outcomes"),
                "kafka": handover.check,
                "postgresql": lambda: is_reachable(pool),
            },
        )


def quotas_of(settings: Settings) -> Quotas:
    """As for simple devices over MQTT; each process counts for itself."""
    return Quotas(
        device_rate=settings.ingest_device_rate,
        device_burst=settings.ingest_device_burst,
        tenant_rate=settings.ingest_tenant_rate,
        tenant_burst=settings.ingest_tenant_burst,
    )
