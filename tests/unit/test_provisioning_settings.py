"""Where the assets file is looked for, and which keys open the administrators' door."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from overwatt.inventory import NOT_FOUND
from overwatt.split import AssetState, split
from services.provisioning.assets_file import find, read
from services.provisioning.key import is_right
from services.provisioning.settings import Settings, admin_key

ROOT = Path(__file__).parents[2]
TEXT = (
    "Error: assets.yaml not found. Set ASSETS_PATH or place assets.yaml in the headend cwd or workspace root."
)


def test_without_a_file_the_search_ends_with_the_exact_sentence(tmp_path: Path) -> None:  # D-022
    assert NOT_FOUND == TEXT
    with pytest.raises(SystemExit) as ended:
        find(None, cwd=tmp_path, workspace=tmp_path)

    assert ended.value.code == TEXT


def test_the_process_ends_with_the_exact_sentence_on_stderr(tmp_path: Path) -> None:  # D-003, D-022
    # The same code under another root, so that no assets.yaml stands there whatever the real one has.
    for name in ("services", "proto"):
        (tmp_path / name).symlink_to(ROOT / name)

    done = subprocess.run(
        [sys.executable, "-m", "services.provisioning"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{tmp_path}:{tmp_path / 'proto'}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (1, TEXT + "\n")


def test_the_file_is_looked_for_in_assets_path_then_cwd_then_the_workspace(tmp_path: Path) -> None:  # D-022
    cwd, workspace = tmp_path / "cwd", tmp_path / "workspace"
    for directory in (cwd, workspace):
        directory.mkdir()
        (directory / "assets.yaml").write_text("sites: []")

    assert find("/elsewhere/a.yaml", cwd=cwd, workspace=workspace) == Path("/elsewhere/a.yaml")
    assert find(None, cwd=cwd, workspace=workspace) == cwd / "assets.yaml"
    (cwd / "assets.yaml").unlink()
    assert find(None, cwd=cwd, workspace=workspace) == workspace / "assets.yaml"


def test_an_empty_assets_path_means_enrolled_boxes_only(tmp_path: Path) -> None:  # D-022, design section 5
    (tmp_path / "assets.yaml").write_text("sites: []")

    assert find("", cwd=tmp_path, workspace=tmp_path) is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "cannot read the assets file"),
        ("sites: [", "assets file"),
        ("sites: {}", "a list `sites`"),
        ("sites: [{id: s, assets: [{id: A, type: battery}]}]", "sites\\[0\\].assets\\[0\\].id is 'A'"),
    ],
)
def test_a_file_that_cannot_be_used_ends_the_process_and_names_the_place(
    tmp_path: Path, text: str | None, complaint: str
) -> None:
    path = tmp_path / "named.yaml"
    if text is not None:
        path.write_text(text)

    with pytest.raises(SystemExit, match=complaint) as ended:
        read(path)

    assert "named.yaml" in str(ended.value)


def test_the_sample_file_has_one_site_of_120_40_and_40_mwh() -> None:  # D-019, D-041
    (site,) = read(ROOT / "assets_test.yaml")

    assert site.id.startswith("6ba7b810-")
    first = site.assets[0]
    assert first.id.startswith("7ba7b810-")
    assert (first.name, first.capacity_mwh, first.min_mw, first.max_mw) == ("SA-BESS-1", 120, -60, 60)
    assert (first.efficiency, first.ramp_rate_mw_per_min) == (0.92, 1000)
    states = [
        AssetState(id=a.id, capacity_mwh=a.capacity_mwh, min_mw=a.min_mw, max_mw=a.max_mw)
        for a in site.assets
    ]
    assert [share.power_mw for share in split(12, states).shares] == pytest.approx([7.2, 2.4, 2.4])


def a_setting(**values: object) -> Settings:
    return Settings(**{"provision_admin_key": SecretStr("change-me-now"), **values})  # type: ignore[arg-type]


def test_production_refuses_the_sample_key_and_names_the_variable() -> None:  # P-061, T-056
    with pytest.raises(SystemExit, match="PROVISION_ADMIN_KEY") as ended:
        admin_key(a_setting(environment="production"))

    assert "change-me-now" not in str(ended.value)


def test_development_takes_the_sample_key_and_production_one_of_its_own() -> None:  # P-061
    assert admin_key(a_setting(environment="development")) == "change-me-now"
    own = a_setting(environment="production", provision_admin_key=SecretStr("a-key-of-our-own"))
    assert admin_key(own) == "a-key-of-our-own"


@pytest.mark.parametrize(
    ("given", "wanted", "opens"),
    [
        ("key", "key", True),
        ("kex", "key", False),
        ("", "key", False),
        (None, "key", False),
        ("", "", False),
        (None, "", False),
        ("\xe9\xff", "key", False),
    ],
)
def test_only_the_right_key_opens_and_an_empty_one_never(
    given: str | None, wanted: str, opens: bool
) -> None:  # P-032
    assert is_right(given, wanted) is opens
