"""A label table of the user's own: a JSON file with classes, their colours, and what ids and other names mean."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from da_toolkit.data.encodings import RawClasses
from da_toolkit.data.labels import LabelSpace
from da_toolkit.errors import UserError, unknown_name

LARGEST = 65535
"""The largest id that a 16-bit label file can hold."""
_KEYS = ("classes", "colors", "ids", "includes")
_EXAMPLE = '{"classes": ["road", "car"], "ids": {"7": "road", "26": "car", "0": null}}'


@dataclass(frozen=True)
class LabelTable:
    """What a table says: its own label space, if it lists classes, and the meaning of ids, if it has any."""

    space: LabelSpace | None
    ids: RawClasses | None


def read_table(path: Path) -> LabelTable:
    """Read a table in any Unicode encoding of JSON. Raises `UserError` that names the file and the mistake."""
    try:
        tree = json.loads(path.read_bytes(), object_pairs_hook=_once)
        if not isinstance(tree, dict):
            raise _Wrong(f"it holds a JSON {type(tree).__name__}, not an object in {{ }}")
        return _table(path, tree)
    except FileNotFoundError:
        what = "it does not exist; relative paths start where the command is given"
    except IsADirectoryError:
        what = "it is a folder"
    except OSError as error:
        what = f"it cannot be read ({error.strerror or error})"
    except _Wrong as error:
        what = str(error)
    except UnicodeDecodeError:
        what = "it is not text in UTF-8"
    except (ValueError, RecursionError) as error:  # a path with a null byte, too
        what = f"it is not JSON ({error})"
    except UserError as error:
        what = str(error).rstrip(".")
    raise UserError(f"The label table {path} cannot be used: {what}. It must look like {_EXAMPLE}.")


class _Wrong(Exception):
    """What is wrong with a table."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of a key that stands there twice, JSON would silently keep the last."""
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise _Wrong(f"{twice[0]!r} stands there twice")
    return dict(pairs)


def _table(path: Path, tree: dict[str, Any]) -> LabelTable:
    for key in tree:
        if key not in _KEYS:
            raise _Wrong(str(unknown_name("key", key, _KEYS)).rstrip("."))
    if not {"classes", "ids"} & tree.keys():
        raise _Wrong('it has neither "classes" nor "ids"')
    space = _space(path, tree) if "classes" in tree else None
    if space is None:
        for key in ("colors", "includes"):
            if key in tree:
                raise _Wrong(f'"{key}" needs "classes" beside it')
    return LabelTable(space, _ids(tree["ids"], space) if "ids" in tree else None)


def _space(path: Path, tree: dict[str, Any]) -> LabelSpace:
    names, colors, includes = tree["classes"], tree.get("colors", []), tree.get("includes", {})
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _Wrong(f'"classes" must be a list of names, not {names!r:.80}')
    if not isinstance(colors, list) or not all(isinstance(color, list) for color in colors):
        raise _Wrong(f'"colors" must be a list of [red, green, blue], not {colors!r:.80}')
    if not isinstance(includes, dict) or not all(isinstance(name, str) for name in includes.values()):
        raise _Wrong(f'"includes" must map other names to classes, such as {{"truck": "car"}}, not {includes!r:.80}')
    return LabelSpace(path.stem, tuple(names), tuple(tuple(color) for color in colors), tuple(includes.items()))


def _ids(ids: Any, space: LabelSpace | None) -> RawClasses:
    if not isinstance(ids, dict):
        raise _Wrong(f'"ids" must map ids to names or null, such as {{"7": "road", "0": null}}, not {ids!r:.80}')
    found: RawClasses = {}
    for raw, name in ids.items():
        if not re.fullmatch(r"0|[1-9][0-9]*", raw):
            raise _Wrong(f"the id {raw!r} is not a whole number")
        if len(raw) > len(str(LARGEST)) or int(raw) > LARGEST:
            raise _Wrong(f"the id {raw:.20} is out of range: label files hold 0 to {LARGEST}")
        if name is not None and not isinstance(name, str):
            raise _Wrong(f"the id {raw} means {name!r:.80}, which is no name; null is for ignored ids")
        if name is not None and space is not None and space.place(name) is None:
            raise _Wrong(f"the id {raw}: " + str(unknown_name("class", name, space.classes)).rstrip("."))
        found[int(raw)] = name
    if not any(found.values()):
        raise _Wrong('"ids" maps no id to a class, so that every pixel would be ignored')
    return found
