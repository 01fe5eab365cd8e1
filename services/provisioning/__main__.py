"""`python -m services.provisioning`: serve. With a command such as `authority`, do that instead."""

import sys
from importlib import import_module
from typing import Final

COMMANDS: Final = {
    "authority": "services.provisioning.enrolment.authority_cli",
    "brokers": "services.provisioning.brokers.cli",
}
"""What else `python -m services.provisioning <command> ...` does; each says more with --help. A command needs
little of what the service imports, and does not wait for it."""


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            import_module("services.provisioning.wiring").start()
        case [name, *rest] if name in COMMANDS:
            import_module(COMMANDS[name]).main(rest)
        case _:
            raise SystemExit(
                f"Error: {sys.argv[1]!r} is no command. Without one this serves; else give one of "
                f"{', '.join(COMMANDS)}."
            )
