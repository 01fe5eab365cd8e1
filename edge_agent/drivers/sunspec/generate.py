"""Makes models.json from the model files that pysunspec2 ships. Run at development time:

python -m edge_agent.drivers.sunspec.generate
"""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

MODELS: Final = (1, 103, 120, 123, 124, 203, 701, 702, 704, 713, 802)
TARGET: Final = Path(__file__).with_name("models.json")


def points_of(definition: dict[str, Any]) -> dict[str, list[Any]]:
    """Name -> offset from the model's ID register, registers, type, scale factor (name, number or null)."""
    points, offset = {}, 0
    for point in definition["group"]["points"]:
        points[point["name"]] = [offset, point["size"], point["type"], point.get("sf")]
        offset += point["size"]
    return points


def render() -> str:
    """The file's text: a line a point, so that changes can be read."""
    source = files("sunspec2") / "models" / "json"
    models = []
    for number in MODELS:
        definition = json.loads((source / f"model_{number}.json").read_text(encoding="utf-8"))
        lines = [f'    "{name}": {json.dumps(point)}' for name, point in points_of(definition).items()]
        models.append(f'  "{number}": {{\n' + ",\n".join(lines) + "\n  }")
    return "{\n" + ",\n".join(models) + "\n}\n"


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
