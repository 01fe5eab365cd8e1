"""Real servers for the tests, each started when the first test asks for it, and one of each per run.

`postgres`, `redis_server`, `mosquitto` and `kafka` give an address; `database_url` gives every test its own
migrated database; `platform` is everything with all services. Unit tests ask for none of them. A test that
kills a part starts it again, or takes a home of its own:

    with Stack(home, Ports.free(), service_environment={"ASSETS_PATH": path}) as own:
        own.up()
"""

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import hypothesis
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from scripts.local import postgres as local_postgres
from scripts.local import services
from scripts.local.ports import HOST, Ports
from scripts.local.stack import Stack

ROOT: Final = Path(__file__).parents[1]
TEMPLATE: Final = "overwatt_template"
DATABASE_TESTS: Final = "tests/integration/db/"
_numbers: Final = itertools.count(1)

# How long an example takes says how busy the machine is, and nothing of the code.
hypothesis.settings.register_profile("overwatt", deadline=None)
hypothesis.settings.load_profile("overwatt")


class ByFile(LoadFileScheduling):
    """One worker for all tests of a file, and for all that share the migrated TimescaleDB."""

    def _split_scope(self, nodeid: str) -> str:
        return DATABASE_TESTS if nodeid.startswith(DATABASE_TESTS) else str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    return ByFile(config, log)


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty home directory that the servers' own users can enter; removed with its data."""
    yield from _home()


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The platform of this run, nothing of it started yet: `stack.start("kafka")`, `stack.kill_part(...)`."""
    for directory in _home():
        with Stack(directory, Ports.free(), service_environment={"ASSETS_PATH": ""}) as running:
            yield running


@pytest.fixture(scope="session")
def postgres(stack: Stack) -> str:
    """URL of the platform's database (not migrated), as its owner."""
    stack.start("postgres")
    return stack.env()["DATABASE_URL"]


@pytest.fixture(scope="session")
def redis_server(stack: Stack) -> str:
    """URL."""
    stack.start("redis")
    return stack.env()["REDIS_URL"]


@pytest.fixture(scope="session")
def mosquitto(stack: Stack) -> tuple[str, int]:
    """Host and port."""
    stack.start("mosquitto")
    return HOST, stack.ports.mosquitto


@pytest.fixture(scope="session")
def kafka(stack: Stack) -> str:
    """Bootstrap address; the platform's topics exist."""
    stack.start("kafka")
    bootstrap = stack.env()["KAFKA_BOOTSTRAP"]
    services.create_topics(bootstrap)
    return bootstrap


@pytest.fixture(scope="session")
def template_database(stack: Stack, postgres: str) -> str:
    """Name of a migrated database that nobody may connect to: it is copied."""
    stack.sql(f"create database {TEMPLATE}", "postgres")
    services.migrate(local_postgres.url(stack.ports.postgres, database=TEMPLATE))
    return TEMPLATE


@pytest.fixture
def database_url(stack: Stack, template_database: str) -> Iterator[str]:
    """URL, as the owner, of a migrated database for this test alone."""
    name = f"test_{next(_numbers)}"
    stack.sql(f"create database {name} template {template_database}", "postgres")
    yield local_postgres.url(stack.ports.postgres, database=name)
    stack.sql(f"drop database {name} with (force)", "postgres")


@pytest.fixture
def role_url(database_url: str) -> Callable[[str], str]:
    """The test's database as one of the services logs in: `role_url("ingest")`."""
    _, _, address = database_url.rpartition("@")
    return lambda role: f"postgresql://{role}:{local_postgres.PASSWORD}@{address}"


@pytest.fixture(scope="session")
def platform() -> Iterator[Stack]:
    """Everything: components, tables, topics and all services, ready; `platform.env()` says where.

    On servers of its own: its services would share consumer groups with those of other tests.
    """
    for directory in _home():
        with Stack(directory, Ports.free(), service_environment={"ASSETS_PATH": ""}) as running:
            running.up()
            yield running


def _home() -> Iterator[Path]:
    # pytest's own directories are for one user alone, and root's servers run as others.
    directory = Path(tempfile.mkdtemp(prefix="overwatt-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    Stack(directory, Ports()).remove_data()
    shutil.rmtree(directory)
