"""Reaching what a command works on: the tenant it names, provisioning, the tenant's directory."""

from contextlib import AbstractContextManager
from typing import Final

from overwatt.topics import TENANT, is_tenant
from services.provisioning.model import Unknown
from services.provisioning.tenantctl import stack
from services.provisioning.tenantctl.platform import Platform, connect
from services.provisioning.tenantctl.settings import Settings
from services.provisioning.tenantctl.stack import Stack
from services.runtime.errors import Invalid

ADMIN_KEY: Final = "PROVISION_ADMIN_KEY"


def tenant_id(text: str) -> str:
    """The id that --tenant gives. Raises Invalid."""
    if not is_tenant(text):
        raise Invalid(f"--tenant {text!r}: must match {TENANT.pattern}, for example smith")
    return text


def platform(settings: Settings) -> AbstractContextManager[Platform]:
    """Provisioning. Raises Invalid without a key."""
    key = settings.admin_key()
    if key is None:
        raise Invalid(f"missing: {ADMIN_KEY}; set it to provisioning's key, which in production is no sample")
    return connect(settings.provisioning, key)


def stack_of(tenant: str, settings: Settings) -> Stack:
    """The tenant's directory. Raises Unknown."""
    there = stack.find(settings.tenants_dir, tenant_id(tenant))
    if there is None:
        raise Unknown(
            f"tenant {tenant!r} has no directory in {settings.tenants_dir}; "
            f"`tenantctl render --tenant {tenant}` makes it",
            field="tenant",
        )
    return there


def values_of(tenant: str, settings: Settings) -> dict[str, str]:
    """What stands in the tenant's `.env`; nothing where there is none."""
    there = stack.find(settings.tenants_dir, tenant)
    return dict(there.values) if there else {}
