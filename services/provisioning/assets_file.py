"""Finding and reading the assets file (D-003, D-022, D-040)."""

from pathlib import Path
from typing import Final

import yaml

from overwatt.inventory import NOT_FOUND, InventoryError, Site, parse_inventory

NAME: Final = "assets.yaml"
WORKSPACE: Final = Path(__file__).parents[2]


def find(assets_path: str | None, *, cwd: Path, workspace: Path = WORKSPACE) -> Path | None:
    """ASSETS_PATH, else assets.yaml in the working directory, else in the workspace root.

    None for an empty ASSETS_PATH: enrolled boxes only. Exits with D-022's text where there is no file.
    """
    if assets_path is not None:
        return Path(assets_path) if assets_path else None
    for directory in (cwd, workspace):
        if (directory / NAME).is_file():
            return directory / NAME
    raise SystemExit(NOT_FOUND)


def read(path: Path) -> tuple[Site, ...]:
    """The sites of a file, or an exit that says what is wrong with it and where."""
    try:
        return parse_inventory(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise SystemExit(
            f"Error: cannot read the assets file {path} ({error.strerror}). "
            "Set ASSETS_PATH to a file that exists, or to nothing for enrolled boxes only."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, InventoryError) as error:
        raise SystemExit(f"Error: assets file {path}: {error}") from error
