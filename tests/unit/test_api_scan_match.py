"""What a scan of a customer's network teaches about the devices that we know."""

from typing import Any

from services.api.pro.matching import matches

MAC = "aa:bb:cc:dd:ee:ff"


def a_device(device_id: str, host: str | None, mac: str | None) -> dict[str, Any]:
    return {"device_id": device_id, "host": host, "host_mac": mac}


def test_a_known_mac_is_a_match_wherever_it_is_now_and_its_new_address_is_worth_saving() -> None:  # H-047
    devices = [a_device("inverter", "10.0.0.5", MAC)]

    moved, same = matches([("10.0.0.9", "AA-BB-CC-DD-EE-FF"), ("10.0.0.5", MAC)], devices)

    assert (moved.match, moved.device_id, moved.known_host) == (True, "inverter", "10.0.0.5")
    assert (moved.to_save, same.to_save) == ({"host": "10.0.0.9"}, {})


def test_a_mac_seen_at_a_known_address_is_saved_for_later() -> None:  # H-047
    (found,) = matches([("10.0.0.5", MAC)], [a_device("inverter", "10.0.0.5", None)])

    assert (found.match, found.device_id, found.to_save) == (False, "inverter", {"host_mac": MAC})


def test_a_strangers_mac_at_a_known_address_teaches_nothing() -> None:  # H-047
    devices = [a_device("inverter", "10.0.0.5", MAC), a_device("meter", None, None)]

    for found in matches(
        [("10.0.0.5", "11:22:33:44:55:66"), ("10.0.0.5", None), ("10.0.0.7", None)], devices
    ):
        assert (found.match, found.device_id, found.to_save) == (False, None, {})
