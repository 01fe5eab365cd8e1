"""What people type and look for is there: make targets, documents, tables with the names of the runbooks."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_make_help_names_what_the_runbooks_type() -> None:  # P-001, P-007, P-011, P-034, P-035, D-032, D-036
    told = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    targets = set(re.findall(r"^  make (\S+)", told, re.M))
    assert targets >= {
        *("setup", "demo", "start", "stop", "status", "logs", "test", "check", "unit", "coverage", "migrate"),
        *("device", "token", "lock", "proto", "up", "down", "rebuild", "reset", "bench-path", "bench-writer"),
    }


def test_continuous_integration_runs_make_test_and_nothing_else() -> None:
    commands = [
        line
        for line in (ROOT / ".ci/run").read_text().splitlines()
        if line and not line.startswith("#") and not line.startswith(("set ", "cd "))
    ]
    assert commands == ["exec make test"]


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "ARCHITECTURE.md",
        "docs/installation.md",
        "docs/gateway_test_plan.md",
        "docs/pilot_telemetry_spec.md",
        "docs/PROJECT_MAP.md",
    ],
)
def test_the_documents_that_operators_expect_exist_and_link_to_what_exists(page: str) -> None:  # D-039
    text = (ROOT / page).read_text()
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", text)
    assert text.startswith("# ")
    for link in links:
        assert ((ROOT / page).parent / link).exists(), (page, link)


@pytest.mark.parametrize("table", ["daily_money", "controller_decisions", "command_replies", "alerts_24h"])
def test_the_tables_of_a_box_have_its_id(
    table: str,
) -> None:  # H-028; `metrics` is a view, proved in test_db_*
    migrations = "\n".join(path.read_text() for path in sorted((ROOT / "db/migrations").glob("*.sql")))
    created = re.search(rf"create table if not exists {table} \((.*?)\n\)", migrations, re.S | re.I)
    assert created, table
    assert re.search(r"\bbox_id\b", created[1])
