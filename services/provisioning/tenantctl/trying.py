"""`health` looks at a tenant, `smoke` tries it and keeps what it found (C-007, C-041, U-C06)."""

import argparse
from typing import Final

import httpx2

from services.provisioning.tenant_setup.integrations import required_secrets
from services.provisioning.tenantctl import checks, reach, stack
from services.provisioning.tenantctl.outcome import Said, of_checks
from services.provisioning.tenantctl.settings import Settings
from services.runtime import clock

TIMEOUT_S: Final = 30.0


def health(wanted: argparse.Namespace, settings: Settings) -> Said:
    """Look, and change nothing."""
    with reach.platform(settings) as platform, httpx2.Client(timeout=TIMEOUT_S) as http:
        setup, now = platform.get(reach.tenant_id(wanted.tenant)), clock.now()
        there = stack.find(settings.tenants_dir, wanted.tenant)
        required = required_secrets(setup["integrations"])
        found = [
            checks.is_ready(http, "provisioning", settings.provisioning),
            checks.is_ready(http, "api", settings.api),
            checks.state(setup),
            checks.agents(setup, now),
            checks.secrets(there.values if there else None, required, now.date()),
        ]
    return of_checks(wanted.tenant, found)


def smoke(wanted: argparse.Namespace, settings: Settings) -> Said:
    """Try it."""
    with reach.platform(settings) as platform, httpx2.Client(timeout=TIMEOUT_S) as http:
        setup, now = platform.get(reach.tenant_id(wanted.tenant)), clock.now()
        values = reach.values_of(wanted.tenant, settings)
        found = [
            checks.gateway(http, settings.api, setup, now),
            checks.telegram_echo(http, settings.telegram_api_url, values),
            checks.twilio_call(http, settings.twilio_api_url, values),
            checks.morning_brief(setup, now),
        ]
        if setup["pack"]:
            platform.keep_smoke(wanted.tenant, found)
    return of_checks(wanted.tenant, found)
