"""The authority: what its certificates say, what it refuses, and that OpenSSL agrees."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.provisioning.enrolment import authority_cli, authority_files
from services.provisioning.enrolment.authority import (
    CLIENT_LIFE,
    CRL_LIFE,
    LATE_CLOCK,
    Authority,
    Revoked,
    make_issuing,
    make_root,
    pem,
    serial_of,
)
from services.runtime.errors import Invalid

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return an_authority()


def an_authority(crl_url: str | None = None) -> Authority:
    root, root_key = make_root(NOW)
    issuing, key = make_issuing(root, root_key, NOW)
    return Authority(root, issuing, key, crl_url=crl_url)


def a_key() -> ec.EllipticCurvePublicKey:
    return ec.generate_private_key(ec.SECP256R1()).public_key()


def common_name(certificate: x509.Certificate) -> str:
    (attribute,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(attribute.value)


def verified(tmp_path: Path, authority: Authority, certificate: str, *options: str) -> str:
    """What OpenSSL says of a certificate at NOW."""
    for name, text in (
        ("leaf.pem", certificate),
        ("root.pem", pem(authority.root)),
        ("issuing.pem", pem(authority.issuing)),
    ):
        (tmp_path / name).write_text(text)
    trust = ["-CAfile", tmp_path / "root.pem", "-untrusted", tmp_path / "issuing.pem"]
    at = ["-attime", str(int(NOW.timestamp()))]
    done = subprocess.run(
        ["openssl", "verify", *trust, *at, *options, tmp_path / "leaf.pem"], capture_output=True, text=True
    )
    return done.stdout + done.stderr


def test_a_devices_certificate_says_who_it_is_and_nothing_else(authority: Authority, tmp_path: Path) -> None:
    # P-031, H-012: the identity is the registry's, `<tenant>/<device>`.
    certificate = authority.issue_device(a_key(), "tenant-a", "hems-900100", NOW)

    assert certificate.subject.rfc4514_string() == "CN=tenant-a/hems-900100"
    extensions = certificate.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:overwatt:tenant-a:hems-900100"]
    uses = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert certificate.not_valid_before_utc == NOW - LATE_CLOCK
    assert certificate.not_valid_after_utc == NOW + CLIENT_LIFE
    assert verified(tmp_path, authority, pem(certificate), "-purpose", "sslclient").endswith("OK\n")
    assert "error" in verified(tmp_path, authority, pem(certificate), "-purpose", "sslserver")


def test_serials_are_random_and_told_as_the_table_wants_them(authority: Authority) -> None:
    serials = {serial_of(authority.issue_device(a_key(), "t", "d", NOW)) for _ in range(50)}

    assert len(serials) == 50
    assert all(set(serial) <= set("0123456789abcdef") and len(serial) <= 32 for serial in serials)
    assert max(map(len, serials)) >= 30  # 128 bits


def test_the_longest_names_fit_a_common_name_and_longer_ones_are_refused(authority: Authority) -> None:
    longest = authority.issue_device(a_key(), "t" * 26, "d" * 36, NOW)
    assert len(common_name(longest)) == 63

    assert authority.mint_service("s" * 64, NOW).certificate
    with pytest.raises(Invalid, match="1 to 64"):
        authority.mint_service("s" * 65, NOW)


@pytest.mark.parametrize("bad", ["a+b", "a#", "$a", "a/b", "A", "a\x00", "а", "", "a b", "a\n", "ａ", "-a"])
def test_a_name_that_is_no_plain_word_gets_no_certificate(authority: Authority, bad: str) -> None:
    with pytest.raises(Invalid, match=r"tenant .* must match"):
        authority.issue_device(a_key(), bad, "d", NOW)
    with pytest.raises(Invalid, match=r"device .* must match"):
        authority.issue_device(a_key(), "t", bad, NOW)


@pytest.mark.parametrize("bad", ["svc/+", "svc+", "svc#", "$svc", "svc\x07", "svс", ""])
def test_a_service_bears_no_devices_name_and_no_wildcard(authority: Authority, bad: str) -> None:
    with pytest.raises(Invalid):
        authority.mint_service(bad, NOW)


def test_a_session_is_taken_over_with_a_certificate_of_minutes(authority: Authority) -> None:
    issued = authority.mint_client("tenant-a/box-1", 5, NOW)

    certificate = x509.load_pem_x509_certificate(issued.certificate)
    assert common_name(certificate) == "tenant-a/box-1"
    assert certificate.not_valid_after_utc == NOW + timedelta(minutes=5)
    assert "PRIVATE KEY" not in repr(issued)


def test_the_address_of_the_list_stands_in_clients_certificates_where_it_is_set() -> None:
    url = "http://crl.example.com/crl.pem"
    certificate = an_authority(url).issue_device(a_key(), "t", "d", NOW)

    (point,) = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert point.full_name == [x509.UniformResourceIdentifier(url)]


@pytest.mark.parametrize("crl_url", [None, "http://crl.example.com/crl.pem"])
def test_the_list_names_who_is_revoked_and_no_other(tmp_path: Path, crl_url: str | None) -> None:
    authority = an_authority(crl_url)
    stolen, kept = (authority.issue_device(a_key(), "t", name, NOW) for name in ("stolen", "kept"))
    listed = authority.crl([Revoked(serial_of(stolen), NOW, "key_compromise")], NOW)
    (tmp_path / "crl.pem").write_bytes(listed)
    options = ("-crl_check", "-CRLfile", str(tmp_path / "crl.pem"))

    assert "certificate revoked" in verified(tmp_path, authority, pem(stolen), *options)
    assert verified(tmp_path, authority, pem(kept), *options).endswith("OK\n")
    crl = x509.load_pem_x509_crl(listed)
    assert crl.next_update_utc == NOW + CRL_LIFE
    # EMQX's verifier asks for it; without a name it also covers certificates that name no list.
    point = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
    assert point.critical
    assert point.value.only_contains_user_certs


def test_a_later_list_has_a_higher_number(authority: Authority) -> None:
    numbers = [
        x509.load_pem_x509_crl(authority.crl([], NOW + timedelta(seconds=s)))
        .extensions.get_extension_for_class(x509.CRLNumber)
        .value.crl_number
        for s in (0, 1)
    ]
    assert numbers[0] < numbers[1]


def test_a_certificate_of_another_authority_is_not_ours(authority: Authority) -> None:
    other = an_authority()

    assert authority.is_ours(authority.issue_device(a_key(), "t", "d", NOW))
    assert not authority.is_ours(other.issue_device(a_key(), "t", "d", NOW))


def test_a_servers_certificate_is_for_its_names(authority: Authority, tmp_path: Path) -> None:
    issued = authority.mint_server(["localhost"], ["127.0.0.1"], NOW)
    leaf = issued.certificate.decode()

    serves = ("-purpose", "sslserver")
    assert verified(tmp_path, authority, leaf, *serves, "-verify_hostname", "localhost").endswith("OK\n")
    assert verified(tmp_path, authority, leaf, *serves, "-verify_ip", "127.0.0.1").endswith("OK\n")
    assert "mismatch" in verified(tmp_path, authority, leaf, *serves, "-verify_hostname", "example.com")


def run(*arguments: str | Path) -> None:
    authority_cli.main([str(each) for each in arguments])


def test_the_command_makes_an_authority_once_with_keys_for_its_owner_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "authority"
    run("init", "--directory", directory)
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    run("init", "--directory", directory)

    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before
    assert {path.name for path in directory.iterdir() if path.stat().st_mode & 0o077 == 0} == {
        "root.key",
        "issuing.key",
    }
    assert "PRIVATE" not in capsys.readouterr().out


def test_the_roots_key_can_be_moved_away_and_everything_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("init", "--directory", tmp_path / "a")
    (tmp_path / "a" / "root.key").rename(tmp_path / "safe")
    out = tmp_path / "out"

    run("server", "--directory", tmp_path / "a", "--out", out, "--name", "mosquitto", "--dns", "localhost")
    run("service", "--directory", tmp_path / "a", "--out", out, "--name", "svc-ingest-0")
    capsys.readouterr()
    run("fingerprint", "--directory", tmp_path / "a")

    root = x509.load_pem_x509_certificate((out / "root.pem").read_bytes())
    assert capsys.readouterr().out.strip() == root.fingerprint(hashes.SHA256()).hex()
    service = x509.load_pem_x509_certificate((out / "svc-ingest-0.pem").read_bytes())
    assert common_name(service) == "svc-ingest-0"
    assert {path.name for path in out.iterdir() if path.stat().st_mode & 0o077 == 0} == {
        "mosquitto.key",
        "svc-ingest-0.key",
    }


def test_a_list_that_is_signed_again_forgets_nobody(tmp_path: Path) -> None:
    run("init", "--directory", tmp_path / "a")
    authority = authority_files.load(tmp_path / "a")
    old = authority.crl([Revoked("abc123", NOW, "superseded"), Revoked("7", NOW, "unspecified")], NOW)
    (tmp_path / "crl.pem").write_bytes(old)

    run("crl", "--directory", tmp_path / "a", "--out", tmp_path / "crl.pem")

    again = x509.load_pem_x509_crl((tmp_path / "crl.pem").read_bytes())
    assert {entry.serial_number for entry in again} == {0xABC123, 7}
    assert (again.next_update_utc or NOW) > datetime.now(UTC) + timedelta(days=6)


def test_a_list_of_another_authority_is_not_written_over(tmp_path: Path) -> None:
    run("init", "--directory", tmp_path / "a")
    (tmp_path / "crl.pem").write_bytes(an_authority().crl([], NOW))

    with pytest.raises(SystemExit, match="list of another authority"):
        run("crl", "--directory", tmp_path / "a", "--out", tmp_path / "crl.pem")


@pytest.mark.parametrize("damage", ["missing", "open", "garbage", "foreign"])
def test_a_key_that_cannot_be_used_is_named_and_never_quoted(tmp_path: Path, damage: str) -> None:
    run("init", "--directory", tmp_path / "a")
    key = tmp_path / "a" / "issuing.key"
    secret = key.read_text().splitlines()[1]
    match damage:
        case "missing":
            key.unlink()
        case "open":
            key.chmod(0o644)
        case "garbage":
            key.write_text(f"-----BEGIN PRIVATE KEY-----\n{secret[:20]}\n-----END PRIVATE KEY-----\n")
        case "foreign":
            key.write_bytes((tmp_path / "a" / "root.key").read_bytes())

    with pytest.raises(Invalid) as refused:
        authority_files.load(tmp_path / "a")

    assert "issuing.key" in str(refused.value)
    assert secret[:20] not in f"{refused.value!r} {refused.value.__cause__!r}"


def test_a_directory_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes").write_text("mine")

    with pytest.raises(SystemExit, match="does not exist or is empty"):
        run("init", "--directory", tmp_path / "a")

    assert [path.name for path in (tmp_path / "a").iterdir()] == ["notes"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
