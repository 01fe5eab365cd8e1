"""The revocation list is fresh long before it has to be: an expired one locks everybody out."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from services.provisioning.enrolment.authority import Authority, Revoked, make_issuing, make_root
from services.provisioning.enrolment.crl import RevocationList
from services.provisioning.enrolment.metrics import CRL_AGE

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
STOLEN = Revoked("abc", NOW, "key_compromise")


@pytest.fixture
def crl() -> RevocationList:
    root, root_key = make_root(NOW)
    issuing, key = make_issuing(root, root_key, NOW)
    return RevocationList(Authority(root, issuing, key))


def signed(crl: RevocationList, *revoked: Revoked, after: timedelta) -> x509.CertificateRevocationList:
    crl.sign(revoked, NOW + after)
    return x509.load_pem_x509_crl(crl.pem)


def test_a_list_is_signed_when_it_changes_and_every_day(crl: RevocationList) -> None:
    first = signed(crl, after=timedelta())

    assert signed(crl, after=timedelta(hours=23)) == first
    changed = signed(crl, STOLEN, after=timedelta(hours=23))
    assert [entry.serial_number for entry in changed] == [0xABC]
    again = signed(crl, STOLEN, after=timedelta(hours=48))
    assert (again.next_update_utc or NOW) == NOW + timedelta(days=9)


def test_the_alarm_comes_five_days_before_everybody_is_locked_out(crl: RevocationList) -> None:
    signed(crl, after=timedelta())

    assert crl.watch(NOW + timedelta(hours=47))
    assert not crl.watch(NOW + timedelta(hours=48))
    assert CRL_AGE._value.get() == 48 * 3600
