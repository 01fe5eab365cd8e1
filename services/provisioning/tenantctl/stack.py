"""A tenant's stack on disk: one directory with nothing but a `.env`, readable by its owner alone (T-019).

    /srv/portal/            TENANTS_DIR
      smi0001/.env          the compose project; secrets are made once and kept by every later render
      abc0001/.env

The directory is the tenant's namespace of secrets too: what an integration needs stands in the same file.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.provisioning.model import Taken
from services.provisioning.tenant_setup.naming import check_project, host_of, project_of
from services.provisioning.tenantctl import env_file
from services.runtime.errors import Invalid

ENV: Final = ".env"
UNFINISHED: Final = ".{}.new"
SECRET_BYTES: Final = 32
GENERATED: Final = (
    "POSTGRES_PASSWORD",
    "GRAFANA_ADMIN_PASSWORD",
    "Authentication__DefaultAdminPassword",
    "SERVICE_PASSWORD",
    "PROVISION_ADMIN_KEY",
    "API_TOKEN_KEY",
    "EMQX_COOKIE",
    "EMQX_DASHBOARD_PASSWORD",
    "EMQX_API_SECRET",
)
"""Made by the first render, each of 32 random bytes (T-020). Written so that they fit into an URL."""
PLAIN: Final = (
    "COMPOSE_PROJECT_NAME",
    "CUSTOMER_HOST",
    "TENANT_ID",
    "POSTGRES_DB",
    "POSTGRES_USER",
    "CERTS_DIR",
)
HEAD: Final = """\
# The stack of tenant {tenant}, by `tenantctl render`. Secrets: mode 0600, in your backup, never in git.
# Bring it up from the directory of the code:
#   docker compose --env-file {path} -f compose/docker-compose.yml -f compose/docker-compose.prod.yml up -d
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a stack is made from."""

    tenant: str
    code: str
    domain: str | None = None
    """None: as it is, or the default when it is new."""
    admin_email: str | None = None
    """None: as it is, or admin@ its host."""
    default_domain: str
    certs_dir: Path

    def asked(self) -> dict[str, str]:
        """What was said explicitly."""
        said = {"COMPOSE_PROJECT_NAME": project_of(self.code), "TENANT_ID": self.tenant}
        if self.domain:
            said["CUSTOMER_HOST"] = host_of(self.code, self.domain)
        if self.admin_email:
            said["Authentication__DefaultAdminEmail"] = self.admin_email
        return said

    def defaults(self) -> dict[str, str]:
        """A new stack's values that are no secrets (T-018, T-021); always the same for the same answers."""
        host = host_of(self.code, self.domain or self.default_domain)
        return {
            "COMPOSE_PROJECT_NAME": project_of(self.code),
            "CUSTOMER_HOST": host,
            "TENANT_ID": self.tenant,
            "POSTGRES_DB": "power_monitoring",
            "POSTGRES_USER": "power_user",
            "Authentication__DefaultAdminEmail": self.admin_email or f"admin@{host}",
            "Grafana__EmbedPathPrefix": "/grafana",
            "CERTS_DIR": str(self.certs_dir / project_of(self.code)),
        }


@dataclass(frozen=True, slots=True)
class Stack:
    """A directory that was rendered."""

    directory: Path
    values: Mapping[str, str]

    @property
    def project(self) -> str:
        """Its compose project."""
        return check_project(self.values.get("COMPOSE_PROJECT_NAME", ""))

    @property
    def env(self) -> Path:
        """Its one file."""
        return self.directory / ENV


def render(tenants: Path, wanted: Wanted, given: Mapping[str, str], *, may_change: bool = False) -> Stack:
    """Write the directory, or add what it lacks; what is there stays unless it `may_change`.

    `given` are integrations' secrets. Raises Invalid, and Taken where it is there with other answers.
    """
    with _alone(tenants):
        path = tenants / project_of(wanted.code) / ENV
        there = find(tenants, wanted.tenant)
        if there and (there.project, there.env) != (project_of(wanted.code), path):
            raise Taken(
                f"tenant {wanted.tenant!r} has its stack in {there.directory}; its code cannot change"
            )
        if not there and path.exists():
            owner = env_file.parse(path.read_text()).get("TENANT_ID")
            raise Taken(f"{path.parent} is the stack of tenant {owner!r}; every tenant has a code of its own")
        text = path.read_text() if there else HEAD.format(tenant=wanted.tenant, path=path)
        old = env_file.parse(text)
        for name, value in wanted.asked().items():
            if old.get(name, value) != value and not may_change:
                raise Taken(
                    f"{path} says {name}={old[name]} and not {value}; change it with tenantctl update"
                )
        made = {name: secrets.token_urlsafe(SECRET_BYTES) for name in GENERATED}
        lacking = {name: value for name, value in (wanted.defaults() | made).items() if not old.get(name)}
        return _write(tenants, path, text, {**lacking, **wanted.asked(), **given})


def change(tenants: Path, stack: Stack, given: Mapping[str, str]) -> Stack:
    """Write values into the stack's file."""
    with _alone(tenants):
        return _write(tenants, stack.env, stack.env.read_text(), given)


def remove(tenants: Path, stack: Stack | None) -> None:
    """The directory and its file go; anything else in it stops this. May be repeated."""
    with _alone(tenants):
        if stack is None:
            return
        others = sorted(each.name for each in stack.directory.iterdir() if each.name != ENV)
        if others:
            raise Invalid(
                f"{stack.directory} holds more than {ENV} ({', '.join(others)}); move that away first"
            )
        stack.env.unlink(missing_ok=True)
        stack.directory.rmdir()


def find(tenants: Path, tenant: str) -> Stack | None:
    """The stack of a tenant."""
    return next((each for each in stacks(tenants) if each.values.get("TENANT_ID") == tenant), None)


def stacks(tenants: Path) -> list[Stack]:
    """All that were rendered here."""
    return [Stack(path.parent, env_file.parse(path.read_text())) for path in sorted(tenants.glob(f"*/{ENV}"))]


def _write(tenants: Path, path: Path, text: str, wanted: Mapping[str, str]) -> Stack:
    after = env_file.merged(text, wanted)
    if not path.exists() or path.read_text() != after or path.stat().st_mode & 0o777 != 0o600:
        # Beside the directory, which never holds anything but .env; a kill leaves the old file or the new.
        new = tenants / UNFINISHED.format(path.parent.name)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(after)
            file.flush()
            os.fsync(file.fileno())
        path.parent.mkdir(mode=0o700, exist_ok=True)
        new.replace(path)
    return Stack(path.parent, env_file.parse(after))


@contextmanager
def _alone(tenants: Path) -> Iterator[None]:
    try:
        tenants.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = os.open(tenants, os.O_RDONLY)
    except OSError as error:
        raise Invalid(
            f"TENANTS_DIR {tenants}: {error.strerror}; name a directory that you may write"
        ) from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        _sweep(tenants)
        yield
    finally:
        os.close(held)


def _sweep(tenants: Path) -> None:
    """What a kill left behind: a file that was not put in its place, a directory without its file."""
    for each in tenants.iterdir():
        if each.is_dir() and not any(each.iterdir()):
            each.rmdir()
        elif each.match(UNFINISHED.format("*")):
            each.unlink()
