"""The command line of tenantctl, and its help."""

import argparse
from datetime import date
from pathlib import Path
from typing import Final

from services.provisioning.tenant_setup.integrations import INTEGRATIONS
from services.provisioning.tenantctl import answers

EPILOG: Final = """\
examples:
  tenantctl create --name Smith                        tenant smith, code SMI0001, and its directory
  tenantctl create --answers smith.yml                 the same from a file; never asks anything
  tenantctl secrets set --tenant smith TELEGRAM_BOT_TOKEN < token.txt
  tenantctl invite --tenant smith                      a link for one person, and a text to send
  tenantctl smoke --tenant smith                       four checks; exit code 1 when one fails
  tenantctl decommission --tenant smith                ends it, once its final dump is there

exit codes:
  0  done, all checks good          3  there is no such tenant
  1  a check failed, or something   4  it is there already, with other answers
     has to be done first           5  the platform does not answer: again later
  2  wrong or missing arguments, answers or secrets

environment (default: the platform of `make start`):
  PROVISIONING_URL, PROVISION_ADMIN_KEY   provisioning, port 8081
  API_URL                                 the operators' door, for health and smoke
  TENANTS_DIR                             the tenants' directories (.local/tenants; /srv/portal in production)
  BACKUP_DIR                              where final dumps lie (.local/backups)
  TENANT_DOMAIN, CERTS_DIR                what a new stack is told (portal.example.com, /etc/overwatt/certs)
  ENVIRONMENT                             production refuses the sample key

Every command may be repeated: what is done already stays as it is. docs/tenants.md says more.
"""


def parser() -> argparse.ArgumentParser:
    """All of it."""
    top = argparse.ArgumentParser(
        prog="tenantctl",
        description="Tenants: make one, look after it, end it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    acts = top.add_subparsers(dest="act", required=True, metavar="command")
    _create(_act(acts, "create", "make a tenant with its default rules, and its directory; all or nothing"))
    _act(acts, "list", "show all tenants")
    _tenant(_act(acts, "get", "show a tenant: how it was set up, and how it is"))
    _update(
        _act(acts, "update", "change a tenant's name, integrations, host or state, or add a pack's rules")
    )
    delete = _act(acts, "delete", "remove a tenant that never had a box, a device or a user")
    _tenant(delete)
    _ending(delete)
    _secrets(acts)
    _tenant(_act(acts, "health", "look at a tenant: services, boxes, secrets; exit code 1 when one is bad"))
    _tenant(
        _act(acts, "smoke", "try a tenant: gateway, Telegram echo, Twilio test call, morning brief (dry run)")
    )
    _tenant(_act(acts, "invite", "make a link that lets one person in, once, within 7 days"))
    _render(_act(acts, "render", "write the directory of a tenant's own stack: one .env, mode 0600"))
    end = _act(acts, "decommission", "end a tenant and its stack; refuses without a fresh final dump")
    _tenant(end)
    _ending(end)
    end.add_argument("--force", action="store_true", help="without a final dump: its data is gone for ever")
    return top


def _act(
    acts: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, says: str
) -> argparse.ArgumentParser:
    act = acts.add_parser(name, help=says, description=says[0].upper() + says[1:] + ".")
    _json(act)
    return act


def _json(act: argparse.ArgumentParser) -> None:
    act.add_argument("--json", action="store_true", help="one JSON document instead of lines")


def _tenant(act: argparse.ArgumentParser) -> None:
    act.add_argument("--tenant", required=True, metavar="ID", help="the tenant id, for example smith")


def _stack(act: argparse.ArgumentParser) -> None:
    act.add_argument("--domain", help="the stack's host is its code below this (TENANT_DOMAIN)")
    act.add_argument(
        "--admin-email", metavar="ADDRESS", help="the stack's first administrator (admin@ its host)"
    )


def _create(create: argparse.ArgumentParser) -> None:
    create.formatter_class = argparse.RawDescriptionHelpFormatter
    create.epilog = f"answers file:\n{(answers.__doc__ or '').partition(chr(10) * 2)[2]}"
    create.add_argument("--name", help="what people call the tenant; its id is made from it: Smith, smith")
    create.add_argument("--tenant", metavar="ID", help="another id than the one made from the name")
    create.add_argument("--code", help="upper case, ABC0001; default: the next free one of the id's letters")
    create.add_argument("--pack", help="a name in manifests/, or the path of a manifest (family-pack)")
    _integrations(create)
    _stack(create)
    create.add_argument("--answers", type=Path, metavar="FILE", help="YAML with the same names; flags win")
    create.add_argument(
        "--secrets",
        type=Path,
        metavar="FILE",
        help="NAME=value lines; without it the environment is looked at",
    )


def _integrations(act: argparse.ArgumentParser) -> None:
    act.add_argument(
        "--integration",
        dest="integrations",
        action="append",
        choices=list(INTEGRATIONS),
        help="may be repeated",
    )


def _update(update: argparse.ArgumentParser) -> None:
    _tenant(update)
    update.add_argument("--name", help="a new name; the id stays")
    update.add_argument("--pack", help="add the rules of this pack that the tenant does not have")
    _integrations(update)
    update.add_argument("--no-integrations", action="store_true", help="switch all integrations off")
    _stack(update)
    state = update.add_mutually_exclusive_group()
    state.add_argument("--enable", dest="state", action="store_const", const="enable", help="back into use")
    state.add_argument("--disable", dest="state", action="store_const", const="disable", help="out of use")


def _secrets(acts: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    says = "names of a tenant's secrets (never their values), or take one in"
    secrets = acts.add_parser("secrets", help=says, description=says[0].upper() + says[1:] + ".")
    things = secrets.add_subparsers(dest="thing", required=True, metavar="list | set")
    show = things.add_parser(
        "list", help="names, each value as ***; exit code 1 when a required one is missing"
    )
    take = things.add_parser("set", help="take a value from standard input, or ask for it without showing it")
    for each in (show, take):
        _tenant(each)
        _json(each)
    take.add_argument("name", metavar="NAME", help="for example TELEGRAM_BOT_TOKEN")
    take.add_argument(
        "--expires", type=_day, metavar="YYYY-MM-DD", help="health reminds from 30 days before that day on"
    )


def _render(render: argparse.ArgumentParser) -> None:
    render.add_argument("--tenant", metavar="ID", help="its code is asked of provisioning")
    render.add_argument("--code", help="upper case, ABC0001; then provisioning is not asked")
    _stack(render)


def _ending(act: argparse.ArgumentParser) -> None:
    act.add_argument("--yes", action="store_true", help="do not ask (needed where nobody sits at a terminal)")
    act.add_argument(
        "--no-docker", action="store_true", help="no stack of this tenant ever ran on this machine"
    )


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day; write it as 2027-01-31") from None
