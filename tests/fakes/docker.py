"""`python tests/fakes/docker.py STATE arguments...`: a Docker with the volumes that the file STATE names.

`volume ls` lists them, `down --volumes` removes them, and every call is kept in STATE. Without that file it
is as if Docker's engine did not run.
"""

import json
import sys
from pathlib import Path


def main(state: Path, arguments: list[str]) -> int:
    """One call."""
    if not state.exists():
        print("Cannot connect to the Docker daemon", file=sys.stderr)
        return 1
    told = json.loads(state.read_text())
    told["calls"].append(arguments)
    if arguments[:2] == ["volume", "ls"]:
        print("\n".join(told["volumes"]))
    if "down" in arguments and "--volumes" in arguments:
        told["volumes"] = []
    state.write_text(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
