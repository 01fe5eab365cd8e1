"""What this service reads from the environment."""

import ipaddress
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from services.escalation.backoff import Retries
from services.escalation.guard import Network, Policy, check_policy
from services.runtime.errors import Invalid
from services.runtime.settings import RuntimeSettings


class Settings(RuntimeSettings):
    """Environment of `python -m services.escalation`."""

    heartbeat_stale_seconds: float = Field(default=90.0, gt=0)
    """Three missed `alive` messages of an agent."""
    worker_max_attempts: int = Field(default=5, ge=1)
    """P-049"""
    worker_backoff_base_seconds: float = Field(default=30.0, gt=0)
    """P-050; doubles with each attempt, up to 7,200 s (U-P09)"""
    worker_timeout_seconds: float = Field(default=30.0, gt=0)
    """P-051; of one POST in all, from resolving the name to the end of the answer"""
    worker_concurrency: int = Field(default=20, ge=1)
    webhook_allowed_networks: Annotated[tuple[Network, ...], NoDecode] = ()
    """Comma-separated networks that webhooks may reach beyond the public internet, such as 10.1.2.0/24."""
    webhook_allowed_ports: Annotated[frozenset[int], NoDecode] = frozenset({443, 8443})

    @field_validator("webhook_allowed_networks", mode="before")
    @classmethod
    def _networks(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(ipaddress.ip_network(part.strip()) for part in value.split(",") if part.strip())

    @field_validator("webhook_allowed_ports", mode="before")
    @classmethod
    def _ports(cls, value: Any) -> Any:
        return frozenset(part for part in value.split(",")) if isinstance(value, str) else value

    @property
    def lease_s(self) -> float:
        """How long a delivery is one sender's own: longer than its POST can last."""
        return self.worker_timeout_seconds + 5.0

    @property
    def retries(self) -> Retries:
        """P-049, P-050."""
        return Retries(self.worker_max_attempts, self.worker_backoff_base_seconds)

    def policy(self) -> Policy:
        """Where webhooks may lead; an exit when the operator's list may not be."""
        policy = Policy(self.webhook_allowed_networks, self.webhook_allowed_ports, self.in_production)
        try:
            check_policy(policy)
        except Invalid as error:
            raise SystemExit(f"Error: {error}") from error
        return policy
