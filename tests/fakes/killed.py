"""`python tests/fakes/killed.py N arguments...`: tenantctl, killed before its Nth step that others can see.

A step is a connection, or anything that changes the disk. Python tells of each before it happens, so that the
program itself needs no switch for this.
"""

import os
import runpy
import signal
import sys
from typing import Any

CHANGES = frozenset(
    {"socket.connect", "fcntl.flock", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod"}
)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def main() -> None:
    """Run it, and kill it."""
    left = int(sys.argv[1])

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in CHANGES or (event == "open" and arguments[2] & WRITES):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.argv = ["tenantctl", *sys.argv[2:]]
    sys.addaudithook(hook)
    runpy.run_module("services.provisioning.tenantctl", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
