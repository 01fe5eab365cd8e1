"""What provisioning starts for erasure and for mail: routes, and tasks by name."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter

from overwatt.topics import AGENT_REPLY
from services.provisioning.erasure.job import Eraser
from services.provisioning.erasure.routes import make_router
from services.provisioning.key import KeyHolder
from services.provisioning.notices import Notices
from services.provisioning.settings import Settings
from services.runtime.bus import consume
from services.runtime.mail import Mailer
from services.runtime.postgres import Pool


def make_erasure(
    settings: Settings, pool: Pool, *, holder: KeyHolder, on_change: Callable[[], None]
) -> tuple[APIRouter, dict[str, Coroutine[Any, Any, None]]]:
    """`on_change` is called after each commit that the registry topic and the brokers have to hear of."""
    url = settings.smtp_url.get_secret_value()
    notices = Notices(pool, Mailer(url, settings.mail_from) if url else None)
    eraser = Eraser(pool, redis_url=settings.redis_url, on_change=on_change, on_notice=notices.wake)
    router = make_router(
        pool, holder=holder, eraser=eraser, on_change=on_change, ops_email=settings.ops_email or None
    )
    kafka = settings.kafka_bootstrap
    return router, {
        "erasure": eraser.run(kafka),
        "wiped spools": consume(kafka, [AGENT_REPLY], group="provisioning", handle=eraser.take),
        "notices": notices.run(),
    }
