"""How the demo's boxes come in: a link from the operator, one command on the box, then mutual TLS.

A second start finds the boxes' identities on their disks and brings nobody in again.
"""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from scripts.local.part import ROOT
from scripts.local.problem import Problem
from scripts.local.stack import Stack

EMAIL: Final = "installer@example.org"
TIMEOUT_S: Final = 30.0


def identity_of(stack: Stack, box: str) -> Path:
    """The directory in which this box keeps its key and certificate."""
    return stack.home / "data" / "agents" / f"{box}.identity"


def bring_in(stack: Stack, box: str) -> float | None:
    """Let the box enrol and be written to; seconds that the box's own command took, None if it was in.

    Raises Problem with what the command or the api said.
    """
    identity = identity_of(stack, box)
    took_s = None
    if not (identity / "box.json").exists():
        link = ask(stack, f"/admin/boxes/{box}/issue_enroll_token", {"email": EMAIL})["url"]
        took_s = enroll(stack, link, identity)
    # Whoever comes in is only observed, until a person says otherwise.
    ask(stack, f"/admin/boxes/{box}/mode", {"mode": "active"})
    return took_s


def enroll(stack: Stack, link: str, identity: Path) -> float:
    """The installer's command on the box; seconds that it took."""
    begun_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", "enroll", link, "--email", EMAIL, "--identity", str(identity)],
        cwd=ROOT,
        env={**os.environ, **stack.env()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise Problem(f"python -m edge_agent enroll: {(done.stderr or done.stdout).strip()}")
    return time.monotonic() - begun_s


def ask(stack: Stack, path: str, body: object) -> Any:
    """POST to the api as the operator on this machine."""
    request = urllib.request.Request(
        stack.env()["API_URL"] + path, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        said = error.read(500).decode(errors="replace")
        raise Problem(f"POST {path} answered {error.code}: {said}") from error
    except OSError as error:
        raise Problem(f"POST {path}: the api does not answer ({error})") from error
