"""`python -m services.escalation rule|channel add|list`: what operators and the demo write.

Until the API of alerts and people exists; it needs the database alone.
"""

import argparse
import math
import re
import sys
from collections.abc import Sequence
from typing import Final
from uuid import uuid4

from overwatt.quantities import BY_NAME, COLUMNS, MAX_METRIC_NAME
from overwatt.topics import is_device, is_tenant
from services.escalation import registration, store
from services.escalation.evaluator import OLDEST_S
from services.escalation.guard import Policy, check_addresses, check_url
from services.escalation.model import NO_HEARTBEAT, SEVERITIES, SIGNS, THRESHOLD, Comparison, Rule
from services.escalation.notifiers.connect import Resolve, resolve
from services.escalation.signing import new_secret
from services.runtime.errors import Invalid
from services.runtime.postgres import Connection, Pool, transaction

METRIC: Final = re.compile(r"[a-z][a-z0-9_]*")
EPILOG: Final = """\
examples:
  python -m services.escalation                              run the service
  python -m services.escalation channel add --tenant default --name ops --url https://hooks.example.org/page
  python -m services.escalation rule add --tenant default --metric soc_pct --comparison LT --threshold 10 \\
      --clear 15 --for 60 --severity 3
  python -m services.escalation rule add --tenant default --kind no_heartbeat --severity 4
  python -m services.escalation rule list

Every enabled channel of a tenant is told when one of its alerts opens, and again when it closes. Calls are
signed (Standard Webhooks v1); the secret is printed once, when the channel is added. A webhook on this
machine needs WEBHOOK_ALLOWED_NETWORKS=127.0.0.0/8, which production refuses. docs/alerts.md says more.
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="python -m services.escalation",
        description="Watches telemetry by rules, keeps one open alert per cause, and pages by webhook.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    things = top.add_subparsers(dest="thing", metavar="run | rule | channel")
    things.add_parser("run", help="run the service (what happens without a command)")
    _rule_parser(things.add_parser("rule", help="what opens an alert"))
    _channel_parser(things.add_parser("channel", help="who is told"))
    return top


def _rule_parser(rule: argparse.ArgumentParser) -> None:
    acts = rule.add_subparsers(dest="act", required=True)
    add = acts.add_parser("add", help="add a rule; running services take it up at once")
    add.add_argument("--tenant", required=True)
    add.add_argument("--kind", choices=(THRESHOLD, NO_HEARTBEAT), default=THRESHOLD)
    add.add_argument("--name", help="default: what the rule says")
    add.add_argument("--metric", help=f"one of {', '.join(COLUMNS)}, or any other metric that devices send")
    add.add_argument("--comparison", choices=[c.value for c in Comparison])
    add.add_argument("--threshold", type=float)
    add.add_argument("--clear", type=float, help="closes the alert here instead of at the threshold")
    add.add_argument("--for", dest="for_s", type=int, default=0, metavar="SECONDS", help="must last so long")
    add.add_argument(
        "--severity", type=int, choices=sorted(SEVERITIES), default=2, help="4 is worst (default 2)"
    )
    add.add_argument("--device", help="only this device (default: every device of the tenant)")
    add.add_argument("--replace", action="store_true", help="change the rule of this name")
    acts.add_parser("list", help="show rules").add_argument("--tenant")


def _channel_parser(channel: argparse.ArgumentParser) -> None:
    acts = channel.add_subparsers(dest="act", required=True)
    add = acts.add_parser("add", help="add a webhook and print its secret, once")
    add.add_argument("--tenant", required=True)
    add.add_argument("--name", required=True)
    add.add_argument("--url", required=True, help="https://host/path; port 443 or 8443")
    add.add_argument(
        "--replace", action="store_true", help="give the channel of this name a new URL and secret"
    )
    acts.add_parser("list", help="show channels, their secrets as ***").add_argument("--tenant")


async def act(pool: Pool, wanted: argparse.Namespace, policy: Policy) -> None:
    """Do what the command line asks. Raises Invalid."""
    match wanted.thing, wanted.act:
        case "rule", "add":
            await _add_rule(pool, wanted)
        case "rule", "list":
            await _list_rules(pool, wanted.tenant)
        case "channel", "add":
            await _add_channel(pool, wanted, policy)
        case "channel", "list":
            await _list_channels(pool, wanted.tenant)


def rule_of(wanted: argparse.Namespace) -> Rule:
    """The rule that the arguments describe. Raises Invalid."""
    if not is_tenant(wanted.tenant):
        raise Invalid(f"--tenant {wanted.tenant!r}: must look like tenant-a (a-z, 0-9, _ and -, at most 26)")
    if wanted.device is not None and not is_device(wanted.device):
        raise Invalid(
            f"--device {wanted.device!r}: must look like sensor-001 (a-z, 0-9, _ and -, at most 36)"
        )
    if wanted.kind == NO_HEARTBEAT:
        return _no_heartbeat(wanted)
    if wanted.metric is None or wanted.comparison is None or wanted.threshold is None:
        raise Invalid("a threshold rule needs --metric, --comparison and --threshold")
    if not METRIC.fullmatch(wanted.metric) or len(wanted.metric) > MAX_METRIC_NAME:
        raise Invalid(f"--metric {wanted.metric!r}: must be a metric name such as soc_pct")
    if not 0 <= wanted.for_s <= OLDEST_S:
        raise Invalid(f"--for {wanted.for_s}: must be 0 to {OLDEST_S} seconds")
    for option, value in (("--threshold", wanted.threshold), ("--clear", wanted.clear)):
        if value is not None and not math.isfinite(value):
            raise Invalid(f"{option} {value}: must be a finite number")
    comparison = Comparison(wanted.comparison)
    if wanted.clear is not None and (
        wanted.clear > wanted.threshold if comparison.is_upwards else wanted.clear < wanted.threshold
    ):
        side = "at or below" if comparison.is_upwards else "at or above"
        raise Invalid(f"--clear {wanted.clear:g}: must be {side} the threshold {wanted.threshold:g}")
    unit = BY_NAME[wanted.metric].unit if wanted.metric in BY_NAME else ""
    says = f"{wanted.metric} {SIGNS[comparison]} {wanted.threshold:g} {unit}".strip()
    return Rule(
        rule_id=uuid4(),
        tenant_id=wanted.tenant,
        name=_name(wanted, says),
        kind=THRESHOLD,
        severity=wanted.severity,
        metric=wanted.metric,
        comparison=comparison,
        threshold=wanted.threshold,
        clear_threshold=wanted.clear,
        for_s=wanted.for_s,
        device_id=wanted.device,
    )


def _no_heartbeat(wanted: argparse.Namespace) -> Rule:
    given = (wanted.metric, wanted.comparison, wanted.threshold, wanted.clear, wanted.for_s or None)
    if any(value is not None for value in given):
        raise Invalid(
            "a no_heartbeat rule takes none of --metric, --comparison, --threshold, --clear, --for; "
            "how long a silence may last is HEARTBEAT_STALE_SECONDS of the service"
        )
    return Rule(
        rule_id=uuid4(),
        tenant_id=wanted.tenant,
        name=_name(wanted, "no heartbeat"),
        kind=NO_HEARTBEAT,
        severity=wanted.severity,
        device_id=wanted.device,
    )


def _name(wanted: argparse.Namespace, says: str) -> str:
    return str(wanted.name or (f"{says} on {wanted.device}" if wanted.device else says))


async def _add_rule(pool: Pool, wanted: argparse.Namespace) -> None:
    rule = rule_of(wanted)
    async with transaction(pool) as db:
        await _warn_of_unknown_tenant(db, rule.tenant_id)
        old = await registration.find_rule(db, rule.tenant_id, rule.name)
        if old and not wanted.replace:
            raise Invalid(
                f"--name {rule.name!r}: the tenant has this rule already; add --replace to change it"
            )
        rule_id = await registration.write_rule(db, rule, old)
    print(f"Added rule {rule.name!r} for tenant {rule.tenant_id}: {rule_id}")


async def _list_rules(pool: Pool, tenant: str | None) -> None:
    async with transaction(pool) as db:
        rules = [rule for rule in await store.read_rules(db) if tenant in (None, rule.tenant_id)]
    for rule in rules:
        severity = SEVERITIES[rule.severity]
        clear = "" if rule.clear_threshold is None else f" clear {rule.clear_threshold:g}"
        lasting = f" for {rule.for_s} s" if rule.for_s else ""
        print(f"{rule.tenant_id}  {rule.rule_id}  {severity:8}  {rule.name}{lasting}{clear}")
    if not rules:
        print("No rules. Add one: python -m services.escalation rule add --help")


async def _add_channel(
    pool: Pool, wanted: argparse.Namespace, policy: Policy, look_up: Resolve = resolve
) -> None:
    if not is_tenant(wanted.tenant):
        raise Invalid(f"--tenant {wanted.tenant!r}: must look like tenant-a (a-z, 0-9, _ and -, at most 26)")
    await check_target(wanted.url, policy, look_up)
    secret = new_secret()
    async with transaction(pool) as db:
        await _warn_of_unknown_tenant(db, wanted.tenant)
        old = await registration.find_channel(db, wanted.tenant, wanted.name)
        if old and not wanted.replace:
            raise Invalid(
                f"--name {wanted.name!r}: the tenant has this channel already; add --replace to give it "
                "another URL and a new secret"
            )
        config = {"url": wanted.url, "secrets": [secret]}
        channel_id = await registration.write_channel(db, wanted.tenant, wanted.name, config, old)
    print(f"Added channel {wanted.name!r} for tenant {wanted.tenant}: {channel_id}")
    print("Its secret, shown this once; the receiver checks signatures with it (Standard Webhooks v1):")
    print(secret)


async def check_target(url: str, policy: Policy, look_up: Resolve = resolve) -> None:
    """Text and present addresses of a webhook's URL. Raises Invalid."""
    parts = check_url(url, policy)
    host, port = parts.hostname or "", parts.port or 443
    try:
        found = await look_up(host, port)
    except OSError as error:
        raise Invalid(
            f"url: host {host!r} has no address ({error.strerror or error}); check its name"
        ) from error
    check_addresses(found, policy)


async def _list_channels(pool: Pool, tenant: str | None) -> None:
    async with transaction(pool) as db:
        channels = await registration.list_channels(db, tenant)
    for channel in channels:
        state = "on" if channel.enabled else "off"
        print(
            f"{channel.tenant_id}  {channel.channel_id}  {state:3}  {channel.name}  {channel.url}  secret ***"
        )
    if not channels:
        print("No channels. Add one: python -m services.escalation channel add --help")


async def _warn_of_unknown_tenant(db: Connection, tenant: str) -> None:
    if not await registration.has_tenant(db, tenant):
        print(
            f"Note: provisioning knows no tenant {tenant!r} yet; this applies once it does.", file=sys.stderr
        )


def read(arguments: Sequence[str]) -> argparse.Namespace:
    """The parsed command line; no command means run."""
    wanted = parser().parse_args(arguments)
    wanted.thing = wanted.thing or "run"
    return wanted
