"""What a tenant is made from: an answers file, and flags over it (C-003). Pure apart from reading the file.

name: Smith                  # the only one that is needed
tenant: smith                # default: made from the name
code: SMI0001                # default: the next free one
pack: family-pack            # a name in manifests/, or a path
integrations: [telegram]
domain: portal.example.com
admin_email: admin@smi0001.portal.example.com
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from services.provisioning.schemas import TenantId
from services.provisioning.tenant_setup.schemas import Integrations, Named, Pack
from services.provisioning.tenants.schemas import Code
from services.runtime.errors import Invalid

DEFAULT_PACK: Final = "family-pack"
MANIFESTS: Final = Path(__file__).parents[3] / "manifests"
Email = Annotated[str, StringConstraints(pattern=r"^[^@\s'\"$]{1,64}@[a-zA-Z0-9.-]{1,190}$")]
M = TypeVar("M", bound=BaseModel)


class Answers(BaseModel):
    """All that `create` wants to know."""

    model_config = ConfigDict(extra="forbid")

    name: Named
    tenant: TenantId | None = None
    code: Code | None = None
    pack: str = Field(default=DEFAULT_PACK, min_length=1)
    integrations: Integrations = []
    domain: str | None = None
    admin_email: Email | None = None


def read_answers(path: Path | None, flags: Mapping[str, Any]) -> Answers:
    """The file's answers with the flags that were given over them. Raises Invalid."""
    given = {} if path is None else _mapping(path)
    given |= {name: value for name, value in flags.items() if value is not None}
    if "name" not in given:
        raise Invalid("name: is missing; give --name Smith, or `name: Smith` in the file of --answers")
    return _checked(Answers, given, path or "arguments")


def read_pack(name: str, *, manifests: Path = MANIFESTS) -> Pack:
    """A pack by its name in manifests/ or by its path (C-006). Raises Invalid."""
    path = Path(name) if "/" in name or name.endswith((".yml", ".yaml")) else manifests / f"{name}.yml"
    if not path.is_file():
        there = ", ".join(sorted(each.stem for each in manifests.glob("*.yml"))) or "none"
        raise Invalid(f"pack {name!r}: there is no {path}; packs here: {there}")
    return _checked(Pack, _mapping(path), path)


def _mapping(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise Invalid(f"{path}: cannot be read ({error.strerror}); name a YAML file that exists") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Invalid(f"{path}: is not YAML ({error})") from error
    if not isinstance(content, dict):
        raise Invalid(f"{path}: must be `name: value` lines")
    return {str(key): value for key, value in content.items()}


def _checked(kind: type[M], given: Mapping[str, Any], source: object) -> M:
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise Invalid("; ".join(f"{source}: {_sentence(each, kind)}" for each in error.errors())) from error


def _sentence(problem: Mapping[str, Any], kind: type[BaseModel]) -> str:
    field = ".".join(map(str, problem["loc"])) or "content"
    if problem["type"] == "extra_forbidden" and len(problem["loc"]) == 1:
        return f"{field}: is not known; known are {', '.join(kind.model_fields)}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    given = "" if isinstance(problem["input"], dict) else f" (got {problem['input']!r})"
    return f"{field}: {message}{given}"
