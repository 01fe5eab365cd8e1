"""The final dump of a tenant: what it is called, and whether a file is one (T-064)."""

import shutil
import subprocess
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final

MAGIC: Final = b"PGDMP"
FRESH: Final = timedelta(days=1)


def dump_path(backups: Path, project: str, today: date) -> Path:
    """abc0001-final-20260131.dump"""
    return backups / f"{project}-final-{today:%Y%m%d}.dump"


def fresh_dump(backups: Path, project: str, now: datetime) -> tuple[Path | None, str]:
    """The final dump of today or yesterday; or None, and what is wrong."""
    days = [now.date(), now.date() - FRESH]
    path = next((each for day in days if (each := dump_path(backups, project, day)).is_file()), None)
    if path is None:
        return None, f"there is no {dump_path(backups, project, now.date())}"
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return None, f"{path} is not a dump of `pg_dump -F c`"
    if command := shutil.which("pg_restore"):
        listed = subprocess.run([command, "--list", str(path)], stdin=subprocess.DEVNULL, capture_output=True)
        if listed.returncode:
            return (
                None,
                f"{path} cannot be read by pg_restore: {listed.stderr.decode(errors='replace').strip()}",
            )
    return path, ""
