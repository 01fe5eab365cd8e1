"""`python -m services.provisioning brokers render mosquitto|emqx`: the rules, for compose/."""

import argparse
import sys
from collections.abc import Sequence

from services.provisioning.brokers.render import emqx_acl, mosquitto_acl


def main(arguments: Sequence[str]) -> None:
    """Print one broker's file."""
    parser = argparse.ArgumentParser(prog="python -m services.provisioning brokers", description=__doc__)
    render = parser.add_subparsers(dest="command", required=True).add_parser(
        "render", help="print the rules as this broker reads them"
    )
    render.add_argument("broker", choices=("mosquitto", "emqx"))
    render.add_argument("--production", action="store_true", help="without what is for loopback only")
    given = parser.parse_args(arguments)
    is_emqx = given.broker == "emqx"
    sys.stdout.write(emqx_acl() if is_emqx else mosquitto_acl(development=not given.production))
