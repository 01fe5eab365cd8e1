"""Ending a tenant in steps that may be repeated: what a kill leaves, the same call finishes (T-064).

the final dump is there        else nothing happens
the platform                   boxes and devices decommissioned, credentials void, sessions cut
the stack's containers, then its volumes
the directory                  last: it says which stack it was
DNS, Traefik's certificate     a person's: told at the end
"""

import argparse
import shlex
import sys
from datetime import datetime

from services.provisioning.model import Unknown
from services.provisioning.tenantctl import reach, stack
from services.provisioning.tenantctl.containers import Containers
from services.provisioning.tenantctl.dumps import dump_path, fresh_dump
from services.provisioning.tenantctl.outcome import NotYet, Said, lines
from services.provisioning.tenantctl.settings import Settings
from services.provisioning.tenantctl.stack import Stack
from services.runtime import clock


def delete(wanted: argparse.Namespace, settings: Settings) -> Said:
    """`delete`: one that never had anything."""
    tenant = reach.tenant_id(wanted.tenant)
    there = stack.find(settings.tenants_dir, tenant)
    docker = Containers(settings.docker, settings.compose)
    if there and not wanted.no_docker and (volumes := docker.volumes(there.project)):
        raise NotYet(
            f"tenant {tenant!r} has a stack here with {len(volumes)} volume(s), whose passwords stand in "
            f"{there.env}; `tenantctl decommission` ends it"
        )
    _confirm(f"Delete tenant {tenant!r}?", wanted)
    with reach.platform(settings) as platform:
        try:
            platform.delete(tenant)
        except Unknown:
            if there is None:
                stack.remove(settings.tenants_dir, None)
                raise
    stack.remove(settings.tenants_dir, there)
    return Said({"tenant_id": tenant, "deleted": True}, f"tenant {tenant} is deleted")


def decommission(wanted: argparse.Namespace, settings: Settings) -> Said:
    """`decommission`: one that had a life."""
    tenant = reach.tenant_id(wanted.tenant)
    there = stack.find(settings.tenants_dir, tenant)
    docker = Containers(settings.docker, settings.compose)
    with reach.platform(settings) as platform:
        setup = platform.get(tenant)
        project = there.project if there else (setup["code"] or tenant).lower()
        its_own = None if wanted.no_docker else there
        dump = None if wanted.force else _dump(project, its_own, docker, settings, clock.now())
        _confirm(
            f"Decommission tenant {tenant!r} with {setup['boxes']} box(es) and its stack {project}?", wanted
        )
        ended = platform.decommission(tenant)
    volumes = _end_stack(there, docker, settings, wanted)
    shown = {
        "tenant_id": tenant,
        "state": "decommissioned",
        "boxes": ended["boxes"],
        "devices": ended["devices"],
        "dump": dump,
        "volumes_removed": volumes,
        "directory_removed": str(there.directory) if there else None,
        "left_to_do": _left_to_do(there),
    }
    return Said(shown, lines(shown))


def _dump(project: str, there: Stack | None, docker: Containers, settings: Settings, now: datetime) -> str:
    found, problem = fresh_dump(settings.backup_dir, project, now)
    if found:
        return str(found)
    path = dump_path(settings.backup_dir, project, now.date())
    command = docker.dump_command(there) if there else 'pg_dump -F c "$DATABASE_URL"'
    command = f"mkdir -p {shlex.quote(str(path.parent))} && {command} > {shlex.quote(str(path))}"
    raise NotYet(f"{problem}; nothing was ended. Make the final dump first:\n  {command}\nor say --force")


def _end_stack(
    there: Stack | None, docker: Containers, settings: Settings, wanted: argparse.Namespace
) -> list[str]:
    volumes: list[str] = []
    if there and not wanted.no_docker:
        volumes = docker.volumes(there.project)
        docker.down(there)
    stack.remove(settings.tenants_dir, there)
    return volumes


def _left_to_do(there: Stack | None) -> list[str]:
    host = there.values.get("CUSTOMER_HOST") if there else None
    return [f"remove the DNS entry of {host}, unless a wildcard covers it"] if host else []


def _confirm(question: str, wanted: argparse.Namespace) -> None:
    if wanted.yes:
        return
    if not sys.stdin.isatty():
        raise NotYet(f"{question} Nobody sits at a terminal to say so; repeat it with --yes")
    if input(f"{question} Type the tenant's id to go on: ").strip() != wanted.tenant:
        raise NotYet("that was not the tenant's id; nothing was ended")
