"""All settings of a run, flat, so that runs can be laid side by side."""

from typing import Any

from da_toolkit.viewing.reading import list_of, object_of

_DEEPEST = 30


def settings_of(recipe: dict[str, Any], processes: list[Any]) -> dict[str, str]:
    """Name as on the command line -> value, of the recipe and of how the run was last started."""
    found: dict[str, str] = {}
    _flatten("", recipe, found, 0)
    last = object_of(processes[-1] if processes else None)
    _flatten("run", object_of(last.get("runtime")), found, 0)
    for name in ("device", "commit", "command"):
        if isinstance(last.get(name), str):
            found[f"run.{name}"] = last[name]
    return found


def _flatten(name: str, value: Any, found: dict[str, str], depth: int) -> None:
    if isinstance(value, dict) and value and depth < _DEEPEST:
        for key, entry in value.items():
            _flatten(_joined(name, key), entry, found, depth + 1)
    elif isinstance(value, list) and any(isinstance(entry, dict) for entry in value) and depth < _DEEPEST:
        for number, entry in enumerate(value):
            _flatten(_joined(name, str(number)), entry, found, depth + 1)
    elif name:
        found[name.removesuffix(".class")] = _shown(value)


def _joined(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _shown(value: Any) -> str:
    if isinstance(value, str) and value.startswith("da_toolkit."):
        return value.rpartition(".")[2]  # of a class, its name
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "none"
    return "none" if value is None else str(value)


def stages_of(recipe: dict[str, Any]) -> list[dict[str, Any]]:
    """Name and steps of each stage of the schedule."""
    stages = list_of(object_of(recipe.get("schedule")).get("stages"))
    return [
        {"name": str(stage.get("name", "")), "steps": stage["steps"]}
        for stage in stages
        if isinstance(stage, dict) and type(stage.get("steps")) is int and 0 < stage["steps"] < 10**15
    ]
