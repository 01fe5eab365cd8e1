"""What a tenant starts with, as administrators and manifests say it, and what is answered."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    FiniteFloat,
    StringConstraints,
    model_validator,
)

from services.provisioning.schemas import Strict, Words
from services.provisioning.tenant_setup.integrations import INTEGRATIONS
from services.provisioning.tenants.schemas import Code

PackName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
SecretName = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]
Metric = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Named = Annotated[Words, StringConstraints(min_length=1)]


def _known(value: str) -> str:
    if value not in INTEGRATIONS:
        raise ValueError(f"must be one of {', '.join(INTEGRATIONS)}")
    return value


Integrations = Annotated[
    list[Annotated[str, AfterValidator(_known)]],
    Field(max_length=20),
    AfterValidator(lambda names: sorted(set(names))),
]


class Rule(Strict):
    """An alert rule for every device of the tenant; severity 4 is worst."""

    name: Named
    kind: Literal["threshold", "no_heartbeat"] = "threshold"
    severity: int = Field(ge=1, le=4)
    metric: Metric | None = None
    comparison: Literal["GT", "LT", "GTE", "LTE"] | None = None
    threshold: FiniteFloat | None = None
    clear_threshold: FiniteFloat | None = None
    for_s: int = Field(default=0, ge=0, le=86_400)

    @model_validator(mode="after")
    def _is_whole(self) -> "Rule":
        needed = (self.metric, self.comparison, self.threshold)
        if self.kind == "threshold" and None in needed:
            raise ValueError("a threshold rule needs metric, comparison and threshold")
        if self.kind == "no_heartbeat" and (any(each is not None for each in needed) or self.for_s):
            raise ValueError("a no_heartbeat rule takes name and severity alone")
        if self.threshold is not None and self.clear_threshold is not None:
            upwards = self.comparison in ("GT", "GTE")
            if self.clear_threshold > self.threshold if upwards else self.clear_threshold < self.threshold:
                side = "at or below" if upwards else "at or above"
                raise ValueError(f"clear_threshold must be {side} the threshold")
        return self


class Level(Strict):
    """A step of the policy: whom it reaches is the tenant's own choice, later."""

    level: int = Field(ge=1, le=5)
    delay_minutes: int = Field(default=15, ge=1, le=1440)


class Policy(Strict):
    """The tenant's default escalation policy; the pack's rules follow it."""

    name: Named
    levels: list[Level] = Field(min_length=1, max_length=5)


class Pack(Strict):
    """What every tenant of a kind starts with: a manifest of manifests/."""

    name: PackName
    rules: list[Rule] = Field(default=[], max_length=100)
    escalation_policy: Policy | None = None
    required_secrets: list[SecretName] = Field(default=[], max_length=20)

    @model_validator(mode="after")
    def _names_differ(self) -> "Pack":
        names = [rule.name for rule in self.rules]
        if len(names) != len(set(names)):
            raise ValueError("two rules have the same name")
        return self


class NewSetup(Strict):
    """A tenant with all that it starts with. Without a code the next free one is given."""

    name: Named = Field(examples=["Smith"])
    code: Code | None = Field(default=None, examples=["SMI0001"])
    pack: Pack
    integrations: Integrations = Field(default=[], examples=[["telegram"]])


class ChangedSetup(Strict):
    """What is named is changed, the rest stays. A pack adds the rules that the tenant does not have."""

    name: Named | None = None
    pack: Pack | None = None
    integrations: Integrations | None = None


class Check(Strict):
    """The outcome of one check."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9 -]{1,40}$")]
    result: Literal["ok", "failed", "not configured"]
    detail: Words = ""


class Smoke(Strict):
    """What a smoke run found."""

    checks: list[Check] = Field(min_length=1, max_length=20)


class Setup(BaseModel):
    """A tenant as it was set up, and how it is."""

    tenant_id: str
    name: str
    code: str | None
    state: str
    created_at: datetime
    pack: str | None
    integrations: list[str]
    provisioned_at: datetime | None
    smoke: list[Check] | None
    smoke_at: datetime | None
    boxes: int
    devices: int
    agents_connected: int
    last_seen_at: datetime | None
    open_alerts: int


class Invitation(BaseModel):
    """A link that lets one person into the tenant, once. It is shown here and never again."""

    url: str
    expires_at: datetime


class Redemption(Strict):
    """What stands behind the # of an invitation's link."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Redeemed(BaseModel):
    """Whose tenant the person comes into."""

    tenant_id: str


class Ended(BaseModel):
    """How much a decommissioned tenant had in use."""

    tenant_id: str
    boxes: int
    devices: int
