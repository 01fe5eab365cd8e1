"""The brokers' rules: compose/ has what the one source gives, and no name can break out of a file."""

from pathlib import Path

import pytest

from services.provisioning.brokers.cli import main
from services.provisioning.brokers.render import emqx_acl, mosquitto_acl, mosquitto_passwords
from services.runtime.errors import Invalid

COMPOSE = Path(__file__).parents[2] / "compose"


@pytest.mark.parametrize(("broker", "file"), [("mosquitto", "mosquitto/acl"), ("emqx", "emqx/acl.conf")])
def test_the_committed_files_are_what_the_source_gives(
    broker: str, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["render", broker])

    assert capsys.readouterr().out == (COMPOSE / file).read_text()


def test_emqx_denies_what_no_rule_names() -> None:
    assert emqx_acl().rstrip().endswith("{deny, all}.")


def test_in_production_nothing_is_granted_without_a_name() -> None:
    before_first_user = mosquitto_acl(development=False).partition("\nuser ")[0]

    assert "topic" not in before_first_user.replace("of the topic", "")


def test_a_denied_identity_may_do_nothing_and_nobody_else_is_touched() -> None:
    denied = mosquitto_acl(["t/d"])

    assert denied == mosquitto_acl() + "\nuser t/d\ntopic deny #\n"


@pytest.mark.parametrize("name", ["t/d\nuser svc-ingest-0", "t/+", "t/d extra", "#", "t", "T/D", "t/d/e"])
def test_a_name_that_would_change_the_rules_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="must be <tenant>/<device>"):
        mosquitto_acl([name])
    with pytest.raises(Invalid, match="must be <tenant>/<device>"):
        mosquitto_passwords([(name, "$7$101$c2FsdA==$aGFzaA==")])


@pytest.mark.parametrize("hash_", ["", "$7$\nx:y", "a:b", "a b"])
def test_a_hash_that_is_no_word_is_refused_without_being_quoted(hash_: str) -> None:
    with pytest.raises(Invalid, match="must be one word") as told:
        mosquitto_passwords([("t/d", hash_)])
    assert not hash_ or hash_ not in str(told.value)
