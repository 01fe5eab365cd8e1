"""Who an enrolled box is: its files, its settings, and when its certificate is renewed."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edge_agent import identity
from edge_agent.door import clock_complaint, link_of, off_by
from edge_agent.errors import Invalid
from edge_agent.identity import box_document, install, load
from edge_agent.renewal import due_at, retry_s
from edge_agent.settings import read_settings

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
FINGERPRINT = "ab" * 32
LINK = f"https://cloud.example:8443/enroll?root={FINGERPRINT}#secret-token"
ANSWER: dict[str, Any] = {
    "tenant": "acme",
    "box": "box-1",
    "site": "site-a",
    "site_name": "Site A",
    "mqtt": {"host": "broker.example", "port": 8883},
    "enrol_url": "https://cloud.example:8443",
}
ASSETS = "sites: [{id: site-a, name: Site A, assets: [{id: bess-1, max_mw: 1}]}]"


def box_json(**changes: Any) -> bytes:
    document = box_document(
        ANSWER | changes, serial="ab12", issued_at=NOW, not_after=NOW + timedelta(days=90)
    )
    return json.dumps(document).encode()


@pytest.fixture
def enrolled(tmp_path: Path) -> Path:
    install(tmp_path / "identity", {identity.BOX: box_json(), identity.ASSETS: ASSETS.encode()})
    return tmp_path / "identity"


def test_a_link_is_taken_apart() -> None:
    link = link_of(LINK)

    assert link.base == "https://cloud.example:8443"
    assert (link.root_sha256, link.token) == (FINGERPRINT, "secret-token")
    assert link_of(f"https://cloud.example/over/enroll?root={FINGERPRINT}#t").base == (
        "https://cloud.example/over"
    )


@pytest.mark.parametrize(
    ("link", "says"),
    [
        (LINK.replace("https", "http"), "https://"),
        ("secret-token", "https://"),
        ("https://cloud.example:99999/enroll#secret-token", "https://"),
        (LINK.partition("#")[0], "single quotes"),
        (LINK.replace(FINGERPRINT, "abc"), "root="),
        (LINK.replace("root=", "r="), "root="),
    ],
)
def test_half_a_link_is_refused_without_repeating_its_token(link: str, says: str) -> None:
    with pytest.raises(Invalid) as refused:
        link_of(link)

    assert says in str(refused.value)
    assert "secret-token" not in str(refused.value)


def test_an_identity_comes_back_as_it_was_written_for_its_owner_alone(enrolled: Path) -> None:
    box = load(enrolled)

    assert (box.tenant, box.box, box.site, box.serial) == ("acme", "box-1", "site-a", "ab12")
    assert (box.mqtt_host, box.mqtt_port) == ("broker.example", 8883)
    assert box.not_after == NOW + timedelta(days=90)
    assert all(path.stat().st_mode & 0o077 == 0 for path in (enrolled, *enrolled.iterdir()))


def test_new_files_that_were_decided_are_moved_by_whoever_comes_next(enrolled: Path) -> None:
    """As a power cut leaves it, between the decision and the last move."""
    decided = enrolled / ".decided"
    decided.mkdir()
    (decided / identity.BOX).write_bytes(box_json(box="box-2"))

    assert load(enrolled).box == "box-2"
    assert not decided.exists()
    assert load(enrolled).assets_path.read_text() == ASSETS


def test_new_files_that_were_not_decided_change_nothing(enrolled: Path) -> None:
    gathering = enrolled / ".gathering"
    gathering.mkdir()
    (gathering / identity.BOX).write_bytes(b"half")

    assert load(enrolled).box == "box-1"
    install(enrolled, {identity.BOX: box_json(box="box-3")})
    assert load(enrolled).box == "box-3"


@pytest.mark.parametrize("damaged", [b"", b"[]", b"{}", box_json().replace(b"acme", b"a/+")])
def test_a_damaged_identity_says_what_to_do(enrolled: Path, damaged: bytes) -> None:
    (enrolled / identity.BOX).write_bytes(damaged)

    with pytest.raises(Invalid, match="enrol this box again"):
        load(enrolled)


@pytest.mark.parametrize(
    "changes", [{"mqtt": None}, {"mqtt": {"host": "h"}}, {"tenant": "A+"}, {"box": None}, {"site": "#"}]
)
def test_an_answer_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="the server's answer"):
        box_json(**changes)


def test_a_box_without_a_site_is_a_site_of_its_own() -> None:
    assert json.loads(box_json(site=None))["site"] == "box-1"


def test_an_enrolled_box_needs_no_other_setting(enrolled: Path) -> None:
    settings = read_settings({"IDENTITY_DIR": str(enrolled)})

    assert (settings.tenant, settings.device, settings.mode) == ("acme", "box-1", "gateway")
    assert (settings.mqtt_host, settings.mqtt_port) == ("broker.example", 8883)
    assert (settings.site, [asset.id for asset in settings.assets]) == ("site-a", ["bess-1"])
    assert settings.identity is not None
    assert settings.spool_path.name == "acme.box-1.sqlite"


def test_the_identity_beside_the_spools_is_found_unless_a_broker_is_named(tmp_path: Path) -> None:
    install(tmp_path / "overwatt" / "identity", {identity.BOX: box_json()})
    state = {"XDG_STATE_HOME": str(tmp_path)}

    assert read_settings(state).device == "box-1"
    named = read_settings(state | {"HEADEND_GRPC": "127.0.0.1:1883", "ASSET_ID": "bess-1"})
    assert (named.device, named.identity) == ("bess-1", None)
    with pytest.raises(Invalid, match="HEADEND_GRPC is not set"):
        read_settings(state | {"IDENTITY_DIR": ""})


def test_an_assets_file_of_its_own_goes_before_what_the_cloud_said(enrolled: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("sites: [{id: site-a, assets: [{id: pv-1, type: pv}]}, {id: other, assets: [{id: x}]}]")
    env = {"IDENTITY_DIR": str(enrolled), "ASSETS_PATH": str(own)}

    assert [asset.id for asset in read_settings(env).assets] == ["pv-1"]
    assert [asset.id for asset in read_settings(env | {"SITE_ID": "other"}).assets] == ["x"]
    single = read_settings({"IDENTITY_DIR": str(enrolled), "ASSET_ID": "bess-9"})
    assert (single.device, single.assets[0].id) == ("box-1", "bess-9")


def test_a_box_whose_assets_are_not_known_yet_runs_all_the_same(enrolled: Path) -> None:
    (enrolled / identity.ASSETS).unlink()

    settings = read_settings({"IDENTITY_DIR": str(enrolled)})

    assert (settings.site, settings.assets) == ("site-a", ())


def test_a_box_that_was_never_enrolled_says_how_it_is_done(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="edge_agent enroll"):
        read_settings({"IDENTITY_DIR": str(tmp_path / "nowhere")})


def test_a_certificate_is_renewed_at_two_thirds_of_its_life_and_not_by_all_boxes_at_once(
    enrolled: Path,
) -> None:
    box = load(enrolled)

    assert due_at(box, 0.0) == NOW + timedelta(days=60)
    assert NOW + timedelta(days=64) < due_at(box, 1.0) < NOW + timedelta(days=65)
    assert retry_s(0.0) == 2700
    assert retry_s(1.0) == 4500


def test_a_clock_that_is_off_is_named_with_the_difference() -> None:
    server_at = NOW - timedelta(days=3, hours=2)

    assert off_by(NOW - server_at) == "3 days 2 h ahead"
    assert off_by(timedelta(minutes=-90)) == "1 h 30 min behind"
    complaint = clock_complaint(server_at, NOW, what="expired")
    assert "2026-06-01 12:00:00 UTC" in complaint
    assert "3 days 2 h ahead" in complaint
    assert "agrees" in clock_complaint(NOW - timedelta(seconds=10), NOW, what="expired")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(Invalid, match="cannot be written"):
        install(tmp_path / "identity", {identity.BOX: box_json()})
