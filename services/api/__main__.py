"""`python -m services.api`: serve. With `token` make a token, with `audit verify` check the audit log."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from db.files import read_migrations
from services.api.app import make_app
from services.api.audit.seal import Sealer
from services.api.audit.verify import verify
from services.api.auth import Policy
from services.api.caller import Parts
from services.api.controller import connect as connect_controller
from services.api.database import is_migrated
from services.api.provisioning import connect as connect_provisioning
from services.api.settings import Settings
from services.api.tokens import Identity, make_token, signing_key
from services.runtime import clock
from services.runtime.errors import Invalid, Unavailable
from services.runtime.http import bind, serve
from services.runtime.log import setup_logging
from services.runtime.postgres import connect_pool, is_reachable
from services.runtime.service import health_routes, run, run_until_stopped
from services.runtime.settings import load_settings

NAME: Final = "api"


async def main(settings: Settings) -> None:
    """Wire the parts and run them."""
    key = key_of(settings)
    listener = bind(settings.api_host, settings.api_port, variable="API_PORT")
    local_tenant = None if settings.in_production else settings.tenant_id
    migrations = read_migrations()
    async with (
        connect_pool(settings.database_url, name=NAME, max_size=16) as pool,
        connect_controller(settings.controller_url) as controller,
        connect_provisioning(
            settings.provisioning_url, settings.provision_admin_key.get_secret_value()
        ) as provisioning,
    ):
        checks = {
            "postgresql": lambda: is_reachable(pool),
            "migrations": lambda: is_migrated(pool, migrations),
        }
        parts = Parts(pool, controller, provisioning, Policy(key=key, local_tenant=local_tenant))
        sealer = Sealer(pool)
        await run_until_stopped(
            NAME,
            settings,
            {
                "door": serve(make_app(parts, health_routes(checks)), listener),
                "seal": sealer.seal(),
                "tell": sealer.tell(settings.kafka_bootstrap),
            },
            checks=checks,
        )


def key_of(settings: Settings) -> str | None:
    """What tokens are signed with."""
    configured = settings.api_token_key.get_secret_value() if settings.api_token_key else None
    return signing_key(configured, settings.overwatt_home, in_production=settings.in_production)


def token(settings: Settings, who: Identity, ttl_s: int) -> str:
    """A token for development, or an exit with a sentence."""
    if settings.in_production:
        raise SystemExit("Error: tokens of this command are for development; ENVIRONMENT is production.")
    key = key_of(settings)
    assert key is not None
    try:
        return make_token(key, who, now=clock.now(), ttl_s=ttl_s)
    except Invalid as error:
        raise SystemExit(f"Error: {error}") from error


async def audit_verify(settings: Settings, log_file: Path | None) -> str:
    """Connect and compare."""
    async with connect_pool(settings.database_url, name="api-audit", max_size=1) as pool:
        try:
            return await verify(pool, settings.kafka_bootstrap, log_file)
        except Unavailable as error:
            print(f"audit: cannot compare: {error}", file=sys.stderr)
            raise SystemExit(2) from error


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m services.api", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("serve", help="serve (also without a command)")
    making = commands.add_parser("token", help="print a bearer token for development")
    making.add_argument("--tenant", required=True)
    making.add_argument("--role", required=True)
    making.add_argument("--user", required=True)
    making.add_argument("--ttl", type=int, default=3600, help="seconds until it expires (3600)")
    checking = commands.add_parser("audit", help="check the audit log")
    checking.add_argument("what", choices=["verify"])
    checking.add_argument("--log", type=Path, help="log of the api (log/api.log in OVERWATT_HOME, if there)")
    return parser.parse_args(arguments)


def command(arguments: argparse.Namespace, settings: Settings) -> None:
    """Do what the command line asks for."""
    if arguments.command == "token":
        who = Identity(arguments.tenant, arguments.user, arguments.role)
        print(token(settings, who, arguments.ttl))
    elif arguments.command == "audit":
        setup_logging("api-audit", "error")
        kept = settings.overwatt_home / "log" / "api.log"
        log_file = arguments.log or (kept if kept.exists() else None)
        print(asyncio.run(audit_verify(settings, log_file)))
    else:
        run(NAME, settings, lambda: main(settings))


if __name__ == "__main__":
    command(read_arguments(), load_settings(Settings))
