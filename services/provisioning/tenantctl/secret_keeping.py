"""A tenant's secrets: which are there, which are missing, taking one in; no value is shown (C-009, C-019)."""

import argparse
import getpass
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from services.provisioning.tenant_setup.integrations import required_secrets
from services.provisioning.tenantctl import checks, env_file, reach, stack
from services.provisioning.tenantctl.outcome import DONE, NOT_GOOD, Said, lines, table
from services.provisioning.tenantctl.settings import Settings
from services.runtime.errors import Invalid

HEADS: Final = ("NAME", "VALUE", "WHY", "EXPIRES")


def gather(
    tenant: str, required: Sequence[str], settings: Settings, *, file: Path | None = None
) -> dict[str, str]:
    """The required secrets, from a file or the environment, else as they are. Raises Invalid: what lacks."""
    given = _from_file(file) if file else os.environ
    found = env_file.secret_values([given, reach.values_of(tenant, settings)], required)
    missing = [name for name in required if name not in found]
    if settings.admin_key() is None:
        missing.insert(0, reach.ADMIN_KEY)
    if missing:
        raise Invalid(
            f"missing: {', '.join(missing)}; put them into the environment, or the tenant's own into a "
            "file of NAME=value lines for --secrets; nothing was made"
        )
    return found


def show(wanted: argparse.Namespace, settings: Settings) -> Said:
    """`secrets list`."""
    there = reach.stack_of(wanted.tenant, settings)
    with reach.platform(settings) as platform:
        required = required_secrets(platform.get(wanted.tenant)["integrations"])
    missing = [name for name in required if not there.values.get(name)]
    rows: list[tuple[str, str, str, str | None]]
    rows = [(name, "***", "made by render", None) for name in stack.GENERATED if there.values.get(name)]
    rows += [
        (name, "missing" if name in missing else "***", "required", there.values.get(name + checks.EXPIRES))
        for name in required
    ]
    data = [dict(zip(map(str.lower, HEADS), row, strict=True)) for row in rows]
    shown = {"tenant_id": wanted.tenant, "secrets": data, "missing": missing}
    return Said(shown, table(HEADS, rows), NOT_GOOD if missing else DONE)


def take(wanted: argparse.Namespace, settings: Settings) -> Said:
    """`secrets set`: the value is never an argument, which every user of the machine could read."""
    name, there = wanted.name, reach.stack_of(wanted.tenant, settings)
    if not env_file.NAME.fullmatch(name) or name != name.upper() or name.endswith(checks.EXPIRES):
        raise Invalid(f"{name!r}: a secret's name looks like TELEGRAM_BOT_TOKEN")
    if name in (*stack.GENERATED, *stack.PLAIN):
        raise Invalid(
            f"{name} is the stack's own, made by render; to change it here alone would break the stack"
        )
    value = getpass.getpass(f"{name}: ") if sys.stdin.isatty() else sys.stdin.read().strip()
    if not value:
        raise Invalid(f"{name}: its value is empty; give it on standard input")
    expires = {name + checks.EXPIRES: wanted.expires.isoformat()} if wanted.expires else {}
    stack.change(settings.tenants_dir, there, {name: value, **expires})
    shown = {"tenant_id": wanted.tenant, "secret": name, "value": "***", "expires": wanted.expires}
    return Said(shown, lines(shown))


def _from_file(path: Path) -> Mapping[str, str]:
    try:
        mode, text = path.stat().st_mode, path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"--secrets {path}: cannot be read ({error})") from error
    if mode & 0o077:
        raise Invalid(
            f"--secrets {path}: others may read it (mode {mode & 0o777:04o}); `chmod 600 {path}` first"
        )
    return env_file.parse(text)
