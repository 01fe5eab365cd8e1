"""Names that follow from other names: a tenant's id from what people call it, its code, its compose project.

Smith & Sons  ->  smith-sons  ->  SMI0001  ->  smi0001  ->  smi0001.portal.example.com
name              tenant_id       code         project      host
"""

import re
import unicodedata
from collections.abc import Set
from typing import Final

from overwatt.topics import TENANT, is_tenant
from services.runtime.errors import Invalid

CODE: Final = re.compile(r"[A-Z][A-Z0-9]{0,25}")
PROJECT: Final = re.compile(r"[a-z][a-z0-9]{0,25}")
DOMAIN: Final = re.compile(r"(?!.{200})[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")
LETTERS: Final = 3
MAX_TENANT: Final = 26


def tenant_id_of(name: str) -> str:
    """The id of a tenant of this name, always the same (C-001, C-047). Raises Invalid."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:MAX_TENANT].rstrip("-")
    if not is_tenant(slug):
        raise Invalid(
            f"no tenant id can be made from the name {name!r}; give one that matches {TENANT.pattern}, "
            "for example --tenant smith"
        )
    return slug


def next_code(tenant_id: str, taken: Set[str]) -> str:
    """The first free code: three letters of the id and four digits, SMI0001."""
    letters = re.sub(r"[^a-z]", "", tenant_id).upper()[:LETTERS].ljust(LETTERS, "X")
    number = 1
    while f"{letters}{number:04d}" in taken:
        number += 1
    return f"{letters}{number:04d}"


def project_of(code: str) -> str:
    """The compose project of a code: the same in lower case, which compose demands. Raises Invalid."""
    if not CODE.fullmatch(code):
        raise Invalid(f"code {code!r}: must be upper case like ABC0001 ({CODE.pattern})")
    return code.lower()


def check_project(project: str) -> str:
    """A compose project's name. Raises Invalid."""
    if not PROJECT.fullmatch(project):
        raise Invalid(
            f"compose project {project!r}: must be the code in lower case, for example {project.lower()!r}"
        )
    return project


def host_of(code: str, domain: str) -> str:
    """Where people reach the tenant's stack. Raises Invalid."""
    if not DOMAIN.fullmatch(domain):
        raise Invalid(f"domain {domain!r}: must be a name such as portal.example.com, in lower case")
    return f"{project_of(code)}.{domain}"
