"""What each command does, in its order: check everything, ask the platform, write the directory."""

import argparse
from collections.abc import Callable, Mapping
from typing import Any, Final

from services.provisioning.tenant_setup.integrations import required_secrets
from services.provisioning.tenant_setup.naming import project_of, tenant_id_of
from services.provisioning.tenantctl import ending, reach, secret_keeping, stack, trying
from services.provisioning.tenantctl.answers import read_answers, read_pack
from services.provisioning.tenantctl.outcome import NotYet, Said, lines, table
from services.provisioning.tenantctl.settings import Settings
from services.provisioning.tenantctl.stack import Wanted
from services.runtime.errors import Invalid

SHOWN: Final = ("tenant_id", "name", "code", "state")
ANSWERS: Final = ("name", "tenant", "code", "pack", "integrations", "domain", "admin_email")
INVITATION: Final = """\
You are invited to {name}.

  App       {url}
            (for one person, once, until {expires_at})
  Telegram  {telegram}
  Phone     {phone}
"""


def create(wanted: argparse.Namespace, settings: Settings) -> Said:
    """Everything is checked before the first thing is made; killed anywhere, the same call finishes."""
    answers = read_answers(wanted.answers, {name: getattr(wanted, name) for name in ANSWERS})
    pack = read_pack(answers.pack)
    tenant = answers.tenant or tenant_id_of(answers.name)
    required = required_secrets(answers.integrations, pack.required_secrets)
    secrets = secret_keeping.gather(tenant, required, settings, file=wanted.secrets)
    with reach.platform(settings) as platform:
        setup, is_new = platform.set_up(
            tenant, name=answers.name, code=answers.code, pack=pack, integrations=answers.integrations
        )
    asked = _wanted(settings, tenant, setup["code"], answers.domain, answers.admin_email)
    made = stack.render(settings.tenants_dir, asked, secrets)
    text = lines(_shown(setup) | {"host": made.values["CUSTOMER_HOST"], "directory": made.directory})
    return Said({**setup, "new": is_new, "directory": str(made.directory)}, text)


def list_(wanted: argparse.Namespace, settings: Settings) -> Said:
    """All tenants."""
    with reach.platform(settings) as platform:
        tenants = platform.tenants()
    heads = ("TENANT_ID", "NAME", "CODE", "STATE")
    return Said(tenants, table(heads, ([each.get(name) for name in SHOWN] for each in tenants)))


def get(wanted: argparse.Namespace, settings: Settings) -> Said:
    """One tenant."""
    with reach.platform(settings) as platform:
        setup = platform.get(reach.tenant_id(wanted.tenant))
    there = stack.find(settings.tenants_dir, wanted.tenant)
    where = str(there.directory) if there else None
    smoke = [f"{each['name']}: {each['result']}" for each in setup["smoke"] or []]
    return Said({**setup, "directory": where}, lines({**setup, "smoke": smoke, "directory": where}))


def update(wanted: argparse.Namespace, settings: Settings) -> Said:
    """Change what is named."""
    tenant = reach.tenant_id(wanted.tenant)
    changes: dict[str, Any] = {}
    if wanted.name:
        changes["name"] = wanted.name
    if wanted.pack:
        changes["pack"] = read_pack(wanted.pack).model_dump()
    if wanted.integrations or wanted.no_integrations:
        changes["integrations"] = sorted(set(wanted.integrations or []))
    of_stack = wanted.domain or wanted.admin_email
    if not (changes or of_stack or wanted.state):
        raise Invalid(
            "nothing to change: give --name, --pack, --integration, --domain, --admin-email or a state"
        )
    secrets = secret_keeping.gather(tenant, required_secrets(changes.get("integrations", ())), settings)
    with reach.platform(settings) as platform:
        if wanted.state:
            platform.set_state(tenant, wanted.state)
        setup = platform.change(tenant, **changes) if changes else platform.get(tenant)
    if of_stack or secrets:
        asked = _wanted(settings, tenant, setup["code"], wanted.domain, wanted.admin_email)
        stack.render(settings.tenants_dir, asked, secrets, may_change=True)
    return Said(setup, lines(_shown(setup)))


def render(wanted: argparse.Namespace, settings: Settings) -> Said:
    """The directory alone; with a code nobody is asked."""
    if not (wanted.code or wanted.tenant):
        raise Invalid("--tenant smith or --code ABC0001 is needed: whose directory is to be written?")
    code = wanted.code
    tenant = reach.tenant_id(wanted.tenant) if wanted.tenant else project_of(code)
    if not code:
        with reach.platform(settings) as platform:
            code = platform.get(tenant)["code"]
    if not code:
        raise NotYet(f"tenant {tenant!r} has no code yet; `tenantctl create` with its name gives it one")
    made = stack.render(
        settings.tenants_dir, _wanted(settings, tenant, code, wanted.domain, wanted.admin_email), {}
    )
    shown = {
        "tenant_id": tenant,
        "code": code,
        "project": made.project,
        "host": made.values["CUSTOMER_HOST"],
        "directory": str(made.directory),
    }
    return Said(shown, lines(shown))


def invite(wanted: argparse.Namespace, settings: Settings) -> Said:
    """A link, and a text to send with it (C-008)."""
    with reach.platform(settings) as platform:
        made = platform.invite(reach.tenant_id(wanted.tenant))
        name = platform.get(wanted.tenant)["name"]
    values = reach.values_of(wanted.tenant, settings)
    bot = values.get("TELEGRAM_BOT_NAME")
    telegram = f"https://t.me/{bot}?start={wanted.tenant}" if bot else None
    contact = {"telegram": telegram, "phone": values.get("TWILIO_FROM")}
    shown = {each: value or "not configured" for each, value in contact.items()}
    return Said({**made, **contact}, INVITATION.format(name=name, **made, **shown).rstrip())


ACTS: Final[Mapping[tuple[str, str | None], Callable[[argparse.Namespace, Settings], Said]]] = {
    ("create", None): create,
    ("list", None): list_,
    ("get", None): get,
    ("update", None): update,
    ("delete", None): ending.delete,
    ("secrets", "list"): secret_keeping.show,
    ("secrets", "set"): secret_keeping.take,
    ("health", None): trying.health,
    ("smoke", None): trying.smoke,
    ("invite", None): invite,
    ("render", None): render,
    ("decommission", None): ending.decommission,
}


def _wanted(
    settings: Settings, tenant: str, code: str, domain: str | None, admin_email: str | None
) -> Wanted:
    return Wanted(
        tenant=tenant,
        code=code,
        domain=domain,
        admin_email=admin_email,
        default_domain=settings.tenant_domain,
        certs_dir=settings.certs_dir,
    )


def _shown(setup: Mapping[str, Any]) -> dict[str, Any]:
    return {name: setup[name] for name in (*SHOWN, "pack", "integrations")}
