"""`python -m services.provisioning.tenantctl`; see `--help`."""

import json
import os
import sys
from collections.abc import Sequence

from services.provisioning.tenantctl.acts import ACTS
from services.provisioning.tenantctl.arguments import parser
from services.provisioning.tenantctl.outcome import exit_code_of
from services.provisioning.tenantctl.settings import Settings
from services.runtime.settings import load_settings


def main(arguments: Sequence[str]) -> int:
    """One command; its exit code."""
    wanted = parser().parse_args(arguments)
    try:
        said = ACTS[wanted.act, getattr(wanted, "thing", None)](wanted, load_settings(Settings))
    except Exception as error:
        exit_code = exit_code_of(error)
        if exit_code is None:
            raise
        problem = (
            json.dumps({"error": str(error), "exit_code": exit_code}) if wanted.json else f"Error: {error}"
        )
        print(problem, file=sys.stderr)
        return exit_code
    print(said.as_json() if wanted.json else said.text)
    return said.exit_code


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # Nobody reads any more (`tenantctl list | head`): nothing to say, and nothing wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
