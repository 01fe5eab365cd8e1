"""scripts/setup.sh in a directory and with a PATH of their own: what it says is missing, and to whom."""

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = (
    "bash cat cmp cp cut dirname echo env flock grep head ls mkdir mktemp rm sed sha256sum tail tee tr xargs"
)
SERVERS = "redis-server mosquitto mosquitto_pub curl mvn npm docker"
JAVA_17 = "echo 'openjdk version \"17.0.2\" 2022-01-18' >&2"
JAVA_11 = "echo 'openjdk version \"11.0.2\" 2019-01-15' >&2"
Setup = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A checkout in which all is done but for what a test takes away."""
    (tmp_path / "scripts/local/kafka").mkdir(parents=True)
    (tmp_path / ".local/kafka/libs").mkdir(parents=True)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "pg").mkdir()
    shutil.copy(ROOT / "scripts/setup.sh", tmp_path / "scripts/setup.sh")
    for name in ("requirements.txt", "pyproject.toml", "scripts/local/kafka/pom.xml", ".local/kafka/pom.xml"):
        (tmp_path / name).write_text("")
    for name in ("libs/kafka_2.13-4.1.1.jar", "classes.jsa"):
        (tmp_path / ".local/kafka" / name).write_text("")
    nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  -\n"
    (tmp_path / ".venv/installed").write_text(nothing)
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    for name in TOOLS.split():
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or pytest.fail(f"{name} is missing"))
    for name in SERVERS.split():
        program(tmp_path, name, "exit 0")
    program(tmp_path, "id", "echo 1000")
    program(tmp_path, "node", "echo 18")
    program(tmp_path, "python3", "exit 0")
    program(tmp_path, "java", JAVA_17)
    return tmp_path


@pytest.fixture
def setup(clone: Path) -> Setup:
    """Run it, as a user without root: `id` says so."""

    def run(**extra: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [clone / "scripts/setup.sh"],
            env=environment(clone) | extra,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def environment(clone: Path) -> dict[str, str]:
    """Nothing of the machine's own but the shell's tools."""
    return {"PATH": str(clone / "bin"), "PG_BIN": str(clone / "pg"), "HOME": str(clone)}


def program(clone: Path, name: str, script: str) -> None:
    """Put a program into the PATH."""
    path = clone / "bin" / name
    path.unlink(missing_ok=True)
    path.write_text(f"#!{shutil.which('bash')}\n{script}\n")
    path.chmod(0o755)


def only_line(done: "subprocess.CompletedProcess[str]") -> str:
    """What it says when it cannot go on: one line."""
    assert done.returncode == 1, done.stdout
    (line,) = done.stderr.splitlines()
    return line


def test_with_nothing_missing_an_ordinary_user_needs_no_sudo(setup: Setup) -> None:
    done = setup()

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "setup: ready\n"


@pytest.mark.parametrize("sudo", [None, "echo 'me is not in the sudoers file.' >&2; exit 1"])
def test_what_is_missing_is_named_to_whoever_may_not_install_it(
    setup: Setup, clone: Path, sudo: str | None
) -> None:
    (clone / "bin/java").unlink()
    (clone / "bin/mvn").unlink()
    (clone / ".local/kafka/pom.xml").unlink()
    program(clone, "apt-get", "exit 0")
    if sudo:
        program(clone, "sudo", sudo)

    assert only_line(setup()) == (
        "setup: default-jre-headless maven missing, and no root or sudo to install them: "
        "ask for `apt-get install default-jre-headless maven`"
    )


def test_a_machine_without_apt_is_told_what_to_install_by_hand(setup: Setup, clone: Path) -> None:
    (clone / "bin/mosquitto_pub").unlink()

    assert "no apt-get: install the likes of mosquitto-clients by hand" in only_line(setup())


def test_a_java_home_that_is_too_old_or_empty_is_told_before_anything_is_installed(
    setup: Setup, clone: Path
) -> None:
    old = clone / "java-11/bin/java"
    old.parent.mkdir(parents=True)
    program(clone, "java", JAVA_11)
    (clone / "bin/java").rename(old)

    for home in (clone / "java-11", Path("/nowhere")):
        assert only_line(setup(JAVA_HOME=str(home))) == (
            f"setup: JAVA_HOME={home} has no Java 17 or newer: unset it, or name one that has"
        )


def test_a_java_that_the_packages_do_not_make_newer_is_told(setup: Setup, clone: Path) -> None:
    program(clone, "java", JAVA_11)
    program(clone, "apt-get", "exit 0")
    program(clone, "sudo", "exit 0")

    told = only_line(setup())

    assert told.startswith("setup: default-jre-headless still missing or too old (Java 17")


def test_kafka_is_fetched_again_when_its_jars_are_gone(setup: Setup, clone: Path) -> None:
    (clone / ".local/kafka/libs/kafka_2.13-4.1.1.jar").unlink()
    program(clone, "mvn", "echo '[ERROR] no route to the repository'; exit 1")

    told = only_line(setup())

    assert "Maven cannot fetch Kafka: [ERROR] no route to the repository (or set KAFKA_HOME" in told


def test_it_waits_for_a_set_up_that_runs_already(clone: Path) -> None:
    with (clone / ".local/setup.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = subprocess.Popen(
            [clone / "scripts/setup.sh"], env=environment(clone), stdout=subprocess.PIPE, text=True
        )
        assert waiting.stdout
        first = waiting.stdout.readline()

    rest, _ = waiting.communicate(timeout=60)
    assert first == "setup: waiting for another set-up in this directory\n"
    assert rest == "setup: ready\n"


def test_a_directory_that_cannot_be_written_is_told(setup: Setup, clone: Path) -> None:
    shutil.rmtree(clone / ".local")
    (clone / ".local").write_text("in the way")

    assert only_line(setup()).endswith(
        f"cannot write to {clone}/.local: run it as the owner of this directory"
    )
