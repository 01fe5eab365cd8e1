"""Docker, as far as ending a tenant's stack needs it."""

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from services.provisioning.tenantctl.settings import WORKSPACE
from services.provisioning.tenantctl.stack import Stack
from services.runtime.errors import Unavailable

FILES: Final = ("docker-compose.yml", "docker-compose.prod.yml")
_HINT: Final = (
    "repeat the command once Docker works, or say --no-docker where no stack of this tenant ever ran here"
)


@dataclass(frozen=True, slots=True)
class Containers:
    """The commands `docker` and `docker compose` of this machine."""

    docker: str
    compose: str

    def volumes(self, project: str) -> list[str]:
        """Names of the volumes that a compose project has here. Raises Unavailable."""
        label = f"label=com.docker.compose.project={project}"
        return self._run([*shlex.split(self.docker), "volume", "ls", "-q", "--filter", label]).split()

    def down(self, stack: Stack) -> None:
        """End the stack and remove its containers and volumes; may be repeated. Raises Unavailable."""
        self._run([*self.compose_command(stack), "down", "--volumes", "--remove-orphans"])

    def compose_command(self, stack: Stack) -> list[str]:
        """The beginning of every compose command for a stack (T-026)."""
        files = [part for name in FILES for part in ("-f", str(WORKSPACE / "compose" / name))]
        return [*shlex.split(self.compose), "--env-file", str(stack.env), *files]

    def dump_command(self, stack: Stack) -> str:
        """What a person types for a dump of the stack's database to standard output (T-064)."""
        what = ["-U", stack.values["POSTGRES_USER"], stack.values["POSTGRES_DB"]]
        return shlex.join(
            [*self.compose_command(stack), "exec", "-T", "postgres", "pg_dump", "-F", "c", *what]
        )

    def _run(self, command: Sequence[str]) -> str:
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"`{command[0]}` cannot be run ({error}); {_HINT}") from error
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise Unavailable(
                f"`{shlex.join(command)}` failed: {said[-1] if said else done.returncode}; {_HINT}"
            )
        return done.stdout
