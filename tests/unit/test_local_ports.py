"""Which part listens where, and what a person is told when a port is taken."""

import os
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest

from scripts.local.ports import HOST, VARIABLES, Ports, free_ports, holder, is_free, require_free
from scripts.local.problem import Problem
from scripts.local.services import wanted


def test_every_port_has_a_variable_and_no_two_defaults_meet() -> None:
    ports = Ports.from_environment({})

    assert {name: getattr(ports, name) for name in VARIABLES}["mosquitto"] == 1883
    assert len({getattr(ports, name) for name in VARIABLES}) == len(VARIABLES) == len(Ports.__slots__)


def test_a_variable_changes_one_port_and_the_offset_moves_the_others() -> None:
    ports = Ports.from_environment({"PORT_OFFSET": "1000", "MQTT_PORT": "1884", "KAFKA_PORT": ""})

    assert (ports.mosquitto, ports.kafka, ports.api) == (1884, 20092, 4001)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("MQTT_PORT", "mqtt"), ("PG_PORT", "0"), ("API_PORT", "65536"), ("PORT_OFFSET", "-1")],
)
def test_what_is_no_port_is_named_with_what_would_be_right(variable: str, value: str) -> None:
    with pytest.raises(Problem, match=rf"{variable}={value} .* give a number from"):
        Ports.from_environment({variable: value})


def test_one_port_for_two_parts_is_refused() -> None:
    with pytest.raises(Problem, match="REDIS_PORT and API_PORT are both 4000"):
        Ports.from_environment({"REDIS_PORT": "4000", "API_PORT": "4000"})


def test_free_ports_are_free_and_below_those_that_clients_are_given() -> None:
    ports = Ports.free()

    assert all(is_free(getattr(ports, name)) for name in VARIABLES)
    assert all(getattr(ports, name) < 32_768 for name in VARIABLES)


def test_no_port_is_given_to_two_processes_that_live() -> None:
    ask = "from scripts.local.ports import free_ports; print(*free_ports(300), flush=True); input()"
    with ExitStack() as living:
        others = [
            living.enter_context(
                subprocess.Popen([sys.executable, "-c", ask], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
            for _ in range(6)
        ]
        given = [free_ports(300), *([int(each) for each in _line(other).split()] for other in others)]
        for other in others:
            other.communicate(b"\n")

    ports = [port for each in given for port in each]
    assert len(set(ports)) == len(ports) == 7 * 300


def _line(process: "subprocess.Popen[bytes]") -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


def test_a_taken_port_is_told_with_its_holder_and_what_to_type_instead() -> None:
    with socket.create_server((HOST, Ports.free().mosquitto)) as listener:
        port = listener.getsockname()[1]
        ours = holder(port)

        with pytest.raises(Problem) as told:
            require_free("mosquitto", port, "make demo")

    assert ours is not None
    assert ours.endswith(f"(pid {os.getpid()})")
    line = str(told.value)
    assert line.startswith(
        f"port {port} (MQTT_PORT) is taken by {ours}: stop it, or choose another port, e.g. MQTT_PORT="
    )
    assert line.endswith(" make demo")
    assert "\n" not in line


def test_a_port_that_only_clients_have_used_is_free() -> None:
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection((HOST, port)) as client:
            accepted, _ = listener.accept()
            accepted.close()
            client.recv(1)

    assert is_free(port)


def test_second_gateways_and_writers_are_started_only_when_they_are_asked_for() -> None:
    assert not {"ingest-gateway-1", "ingest-writer-1"} & set(wanted({}))
    assert "ingest-gateway-1" in wanted({"GATEWAYS": "2"})
    assert "ingest-writer-1" in wanted({"GATEWAYS": "1", "WRITERS": "2"})
    with pytest.raises(Problem, match="GATEWAYS=3"):
        wanted({"GATEWAYS": "3"})
