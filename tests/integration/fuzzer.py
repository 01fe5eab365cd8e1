"""Requests that nobody thought of, made from an OpenAPI description."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

EXAMPLES: Final = os.environ.get("FUZZ_EXAMPLES", "5")
"""Of each kind, for each operation."""
LIMIT_S: Final = 500


def with_names(schema: Any, names: dict[str, list[str]]) -> Any:
    """The description, with names that exist where it says `string`, so that more than 404 is met."""
    for operations in schema["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path" and parameter["name"] in names:
                    parameter["schema"] = {"type": "string", "enum": names[parameter["name"]]}
    return schema


def fuzz(directory: Path, schema: Any, url: str, log_file: Path, *more: str) -> None:
    """Run schemathesis; it finds no 5xx, and the service's log no bug."""
    described = directory / "openapi.json"
    described.write_text(json.dumps(schema))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", str(described), "--url", url),
            *("--checks", "not_a_server_error", "--phases", "coverage,fuzzing", "-n", EXAMPLES),
            *("--seed", "7", "--no-shrink", "--continue-on-failure", "--suppress-health-check", "all"),
            *more,
        ],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    log = log_file.read_text()
    assert "this is a bug" not in log
    assert "Traceback" not in log
