"""tenantctl without a platform: names, answers, packs, a stack's directory, checks, dumps, help."""

import base64
import json
import re
import stat
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.provisioning.model import Taken, Unknown
from services.provisioning.tenant_setup.naming import (
    check_project,
    host_of,
    next_code,
    project_of,
    tenant_id_of,
)
from services.provisioning.tenantctl import checks, env_file, stack
from services.provisioning.tenantctl.answers import Answers, read_answers, read_pack
from services.provisioning.tenantctl.arguments import parser
from services.provisioning.tenantctl.dumps import dump_path, fresh_dump
from services.provisioning.tenantctl.outcome import NotYet, exit_code_of
from services.provisioning.tenantctl.settings import Settings
from services.provisioning.tenantctl.stack import Wanted
from services.runtime.errors import Invalid, Unavailable

ROOT = Path(__file__).parents[2]
COMPOSE = ("compose/docker-compose.yml", "compose/docker-compose.prod.yml")
NOW = datetime(2026, 1, 31, 8, tzinfo=UTC)
ALL_COMMANDS = [  # C-041
    "create", "list", "get", "update", "delete", "secrets", "health", "smoke", "invite", "render",
    "decommission",
]  # fmt: skip


def wanted(tenant: str = "smith", code: str = "ABC0001", **more: Any) -> Wanted:
    return Wanted(
        tenant=tenant, code=code, default_domain="portal.example.com", certs_dir=Path("/certs"), **more
    )


@pytest.mark.parametrize(
    ("name", "tenant"),
    [
        ("smith", "smith"),
        ("Smith & Sons", "smith-sons"),
        ("Zoë Müller", "zoe-muller"),
        ("  42 Main St. ", "42-main-st"),
        ("a" * 40, "a" * 26),
        ("x" * 25 + " y", "x" * 25),
    ],
)
def test_an_id_is_made_from_the_name_and_always_the_same(name: str, tenant: str) -> None:  # C-001, C-047
    assert tenant_id_of(name) == tenant == tenant_id_of(name)


@pytest.mark.parametrize("name", ["", "---", "東京"])
def test_a_name_that_gives_no_id_is_refused_with_what_to_do(name: str) -> None:
    with pytest.raises(Invalid, match="--tenant smith"):
        tenant_id_of(name)


def test_the_next_code_is_the_first_free_one_of_the_ids_letters() -> None:
    assert next_code("smith", set()) == "SMI0001"
    assert next_code("smith", {"SMI0001", "SMI0002", "BAK0003"}) == "SMI0003"
    assert next_code("4-a", set()) == "AXX0001"


def test_a_code_is_upper_case_its_project_and_host_are_lower_case() -> None:  # T-018
    assert project_of("ABC0001") == "abc0001"
    assert host_of("ABC0001", "portal.example.com") == "abc0001.portal.example.com"
    for code in ("abc0001", "ABC 1", "1AB", "", "ABC-1"):
        with pytest.raises(Invalid, match="upper case like ABC0001"):
            project_of(code)


def test_a_compose_project_in_upper_case_is_refused() -> None:  # T-018
    assert check_project("abc0001") == "abc0001"
    with pytest.raises(Invalid, match="lower case, for example 'abc0001'"):
        check_project("ABC0001")


@pytest.mark.parametrize("domain", ["Portal.example.com", "a b.c", "x'y.com", "$(id).com", "nodots", "a..b"])
def test_a_domain_that_is_none_is_refused(domain: str) -> None:
    with pytest.raises(Invalid, match=r"portal\.example\.com"):
        host_of("ABC0001", domain)


def test_answers_come_from_a_file_and_flags_win(tmp_path: Path) -> None:  # C-003
    file = tmp_path / "smith.yml"
    file.write_text("name: Smith\ncode: ABC0001\nintegrations: [twilio, telegram, twilio]\n")

    answers = read_answers(file, {"code": "ABC0002", "domain": None})

    assert answers == Answers(name="Smith", code="ABC0002", integrations=["telegram", "twilio"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("code: ABC0001", "name: is missing"),
        ("name: Smith\ncodes: X", "codes: is not known; known are name, tenant, code"),
        ("name: Smith\ncode: abc0001", "code: String should match"),
        ("name: Smith\ntenant: Smith", r"tenant: must match \[a-z0-9\]"),
        ("name: Smith\nintegrations: [fax]", "must be one of telegram, twilio"),
        ("name: Smith\nadmin_email: nobody", "admin_email: String should match"),
        ("name: 'a\tb'", "must be printable"),
        ("- Smith", "must be `name: value` lines"),
        ("name: [", "is not YAML"),
    ],
)
def test_wrong_answers_are_refused_with_the_field_and_what_would_be_right(
    tmp_path: Path, text: str, says: str
) -> None:  # C-003
    file = tmp_path / "answers.yml"
    file.write_text(text)
    with pytest.raises(Invalid, match=says):
        read_answers(file, {})


def test_the_default_pack_has_rules_and_a_policy() -> None:  # C-006
    pack = read_pack("family-pack")

    assert {rule.kind for rule in pack.rules} == {"threshold", "no_heartbeat"}
    assert pack.escalation_policy is not None
    with pytest.raises(Invalid, match="packs here: family-pack"):
        read_pack("nobody-pack")


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("{name: a, severity: 5}", "less than or equal to 4"),
        ("{name: a, severity: 2}", "needs metric, comparison and threshold"),
        ("{name: a, severity: 2, kind: no_heartbeat, for_s: 3}", "takes name and severity alone"),
        (
            "{name: a, severity: 2, metric: soc_pct, comparison: LT, threshold: 10, clear_threshold: 5}",
            "clear_threshold must be at or above",
        ),
        ("{name: a, severity: 2, metric: soc_pct, comparison: LT, threshold: .nan}", "finite"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_before_anything_is_made(
    tmp_path: Path, rule: str, says: str
) -> None:  # C-006
    manifest = tmp_path / "pack.yml"
    manifest.write_text(f"name: pack\nrules: [{rule}]\n")
    with pytest.raises(Invalid, match=says):
        read_pack(str(manifest))


def test_a_directory_holds_one_file_that_its_owner_alone_reads(tmp_path: Path) -> None:  # T-019, C-002
    made = stack.render(tmp_path, wanted(), {})

    assert [path.relative_to(tmp_path) for path in sorted(tmp_path.rglob("*"))] == [
        Path("abc0001"),
        Path("abc0001/.env"),
    ]
    assert stat.S_IMODE(made.env.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.directory.stat().st_mode) == 0o700


def test_the_file_has_every_key_of_the_runbook(tmp_path: Path) -> None:  # T-018, T-021
    values = stack.render(tmp_path, wanted(), {}).values

    assert values["COMPOSE_PROJECT_NAME"] == "abc0001"
    assert values["CUSTOMER_HOST"] == "abc0001.portal.example.com"
    assert (values["POSTGRES_DB"], values["POSTGRES_USER"]) == ("power_monitoring", "power_user")
    assert values["Authentication__DefaultAdminEmail"] == "admin@abc0001.portal.example.com"
    assert values["Grafana__EmbedPathPrefix"] == "/grafana"
    for name in ("POSTGRES_PASSWORD", "GRAFANA_ADMIN_PASSWORD", "Authentication__DefaultAdminPassword"):
        assert values[name]


def test_each_secret_is_32_random_bytes_and_none_is_used_twice(tmp_path: Path) -> None:  # T-020
    one, other = (stack.render(tmp_path / name, wanted(), {}).values for name in "ab")
    made = [values[name] for values in (one, other) for name in stack.GENERATED]

    assert all(len(base64.urlsafe_b64decode(f"{secret}=")) == 32 for secret in made)
    assert len(set(made)) == len(made)


def test_a_second_render_changes_no_byte_and_keeps_what_was_added(tmp_path: Path) -> None:  # C-047
    env = stack.render(tmp_path, wanted(), {"TELEGRAM_BOT_TOKEN": "1:a"}).env
    env.write_text(env.read_text() + "# mine\nMQTT_TLS_PORT=8899\n")
    before = env.read_bytes()

    again = stack.render(tmp_path, wanted(), {})

    assert env.read_bytes() == before
    assert (again.values["MQTT_TLS_PORT"], again.values["TELEGRAM_BOT_TOKEN"]) == ("8899", "1:a")


def test_other_answers_are_refused_and_taken_where_they_may_change(tmp_path: Path) -> None:  # C-047
    made = stack.render(tmp_path, wanted(), {})

    with pytest.raises(Taken, match=r"says CUSTOMER_HOST=abc0001\.portal"):
        stack.render(tmp_path, wanted(domain="other.example.com"), {})
    changed = stack.render(tmp_path, wanted(domain="other.example.com"), {}, may_change=True)

    assert changed.values["CUSTOMER_HOST"] == "abc0001.other.example.com"
    assert changed.values["POSTGRES_PASSWORD"] == made.values["POSTGRES_PASSWORD"]


def test_a_code_has_one_tenant_and_a_tenant_one_code(tmp_path: Path) -> None:  # T-018
    stack.render(tmp_path, wanted(), {})
    with pytest.raises(Taken, match="stack of tenant 'smith'"):
        stack.render(tmp_path, wanted(tenant="jones"), {})
    with pytest.raises(Taken, match="its code cannot change"):
        stack.render(tmp_path, wanted(code="ABC0002"), {})


def test_a_project_that_somebody_wrote_in_upper_case_is_refused(tmp_path: Path) -> None:  # T-018
    env = stack.render(tmp_path, wanted(), {}).env
    env.write_text(env.read_text().replace("=abc0001\n", "=ABC0001\n"))

    with pytest.raises(Invalid, match="must be the code in lower case"):
        stack.render(tmp_path, wanted(), {})


def test_a_directory_with_something_else_in_it_is_not_removed(tmp_path: Path) -> None:  # T-064
    made = stack.render(tmp_path, wanted(), {})
    (made.directory / "last.dump").write_text("dear")

    with pytest.raises(Invalid, match=r"last\.dump"):
        stack.remove(tmp_path, made)
    assert made.env.exists()


@pytest.mark.parametrize("value", ["plain", "with space", "$HOME", "a#b", 'a"b', "ends\\", "", "a=b=", "ü"])
def test_a_value_comes_back_as_it_was_written(value: str) -> None:
    assert env_file.parse(env_file.merged("# head\n", {"NAME": value})) == {"NAME": value}


@pytest.mark.parametrize("value", ["two\nlines", "it's", "\0"])
def test_a_value_that_would_end_the_line_or_the_quotes_is_refused(value: str) -> None:
    with pytest.raises(Invalid, match="NAME: its value must be one line"):
        env_file.merged("", {"NAME": value})


def test_compose_finds_every_variable_that_production_demands(tmp_path: Path) -> None:  # T-026
    demanded = {
        name for file in COMPOSE for name in re.findall(r"\$\{([A-Za-z0-9_]+):\?", (ROOT / file).read_text())
    }

    assert demanded <= set(stack.render(tmp_path, wanted(), {}).values)


def compose() -> list[str] | None:
    for command in (["docker", "compose"], [str(ROOT / ".local/compose/docker-compose")]):
        try:
            subprocess.run([*command, "version"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return command
    return None


def test_compose_takes_the_rendered_file(tmp_path: Path) -> None:  # T-014, T-016, T-017, T-018, T-026
    command = compose()
    if command is None:
        pytest.skip("Compose v2 is not here; `make setup` fetches it where it can")
    made = stack.render(tmp_path, wanted(), {"TELEGRAM_BOT_TOKEN": "a$b#c d"})
    tried = tmp_path / "tried.yml"
    tried.write_text("services: {api: {environment: {TRIED: '${TELEGRAM_BOT_TOKEN}'}}}")
    files = [part for file in (*COMPOSE, tried) for part in ("-f", str(ROOT / file))]
    done = subprocess.run(
        [*command, "--env-file", str(made.env), *files, "config", "--format", "json"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    config = json.loads(done.stdout)

    assert config["name"] == "abc0001"
    services = config["services"]
    assert services["api"]["environment"]["TRIED"].replace("$$", "$") == "a$b#c d"
    postgres = services["postgres"]["environment"]
    assert postgres["POSTGRES_PASSWORD"] == made.values["POSTGRES_PASSWORD"]
    assert (postgres["POSTGRES_USER"], postgres["POSTGRES_DB"]) == ("power_user", "power_monitoring")
    databases = {each.get("environment", {}).get("DATABASE_URL", "") for each in services.values()}
    assert {url.rpartition("/")[2] for url in databases if url} == {"power_monitoring"}
    rule = services["api"]["labels"]["traefik.http.routers.abc0001.rule"]
    assert rule == "Host(`abc0001.portal.example.com`)"
    assert config["networks"]["traefik-public"]["external"] is True


def test_the_help_names_every_command_and_exit_code() -> None:  # C-041
    done = subprocess.run(
        [str(ROOT / "scripts/tenant"), "--help"], capture_output=True, text=True, check=True, cwd="/"
    )

    assert all(re.search(rf"^    {command}\b", done.stdout, re.M) for command in ALL_COMMANDS)
    assert all(f"\n  {code}  " in done.stdout or f"  {code}  " in done.stdout for code in range(6))


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:  # C-041
    for command in ALL_COMMANDS:
        with pytest.raises(SystemExit) as leaving:
            parser().parse_args([command, "--help"])
        assert leaving.value.code == 0
        assert "--json" in capsys.readouterr().out or command == "secrets"


def test_without_a_platform_the_exit_code_and_the_sentence_say_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "services.provisioning.tenantctl", "list", "--json"],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}", "PROVISIONING_URL": "http://127.0.0.1:1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 5
    assert "set PROVISIONING_URL" in json.loads(done.stderr)["error"]


def test_each_kind_of_failure_has_its_exit_code() -> None:
    failures = [
        NotYet(""),
        Invalid(""),
        Unknown("", field=""),
        Taken(""),
        Unavailable(""),
        ZeroDivisionError(),
    ]
    assert [exit_code_of(failure) for failure in failures] == [1, 2, 3, 4, 5, None]


def test_the_sample_key_is_missing_in_production() -> None:  # C-009
    assert Settings(_env_file=None, environment="development").admin_key()
    assert Settings(_env_file=None, environment="production").admin_key() is None


def a_setup(**more: Any) -> dict[str, Any]:
    return {
        "name": "Smith",
        "state": "active",
        "boxes": 2,
        "devices": 3,
        "agents_connected": 1,
        "open_alerts": 0,
        "last_seen_at": NOW.isoformat(),
        **more,
    }


def test_an_agent_is_well_while_it_was_heard_within_90_seconds() -> None:  # C-007
    assert checks.agents(a_setup(), NOW + timedelta(seconds=90)).result == "ok"
    assert checks.agents(a_setup(), NOW + timedelta(seconds=91)).result == "failed"
    assert checks.agents(a_setup(last_seen_at=None), NOW).result == "failed"
    assert checks.agents(a_setup(boxes=0, last_seen_at=None), NOW).result == "not configured"


def test_a_secret_that_ends_soon_is_named_and_one_that_ended_fails() -> None:  # U-C06
    today, required = date(2026, 1, 31), ("TOKEN",)

    def on(day: str) -> Any:
        return checks.secrets({"TOKEN": "x", "TOKEN_EXPIRES": day}, required, today)

    assert "expiring" not in on("2026-03-03").detail
    assert (on("2026-03-02").result, "TOKEN on 2026-03-02" in on("2026-03-02").detail) == ("ok", True)
    assert (on("2026-01-31").result, on("2026-01-31").detail) == ("failed", "expired: TOKEN")
    assert checks.secrets({}, required, today).detail.startswith("missing: TOKEN")


def test_the_morning_brief_is_made_and_sent_to_nobody() -> None:  # C-007
    check = checks.morning_brief(a_setup(), NOW)

    assert check.result == "ok"
    assert "sent to nobody" in check.detail
    assert checks.brief(a_setup(open_alerts=2), NOW) == (
        "Good morning Smith, 31 January 2026: 2 box(es), 1 connected; 3 device(s); 2 open alert(s)."
    )


def test_a_dump_is_final_when_it_is_of_today_or_yesterday_and_one(tmp_path: Path) -> None:  # T-064
    path = dump_path(tmp_path, "abc0001", NOW.date())
    assert path.name == "abc0001-final-20260131.dump"
    assert fresh_dump(tmp_path, "abc0001", NOW)[0] is None

    path.write_text("not a dump")
    assert "is not a dump" in fresh_dump(tmp_path, "abc0001", NOW)[1]
    path.rename(dump_path(tmp_path, "abc0001", date(2026, 1, 29)))
    assert "there is no" in fresh_dump(tmp_path, "abc0001", NOW)[1]


def test_the_page_says_what_stands_before_the_first_stack() -> None:  # T-015, T-016
    page = (ROOT / "docs/tenants.md").read_text()

    assert "*.portal.example.com" in page
    assert "docker network create traefik-public" in page
