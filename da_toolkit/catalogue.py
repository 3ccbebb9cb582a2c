"""What comes with the toolkit, by name, read from its files without running them: listing needs no torch."""

import ast
import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

KINDS = {"METHODS": "method", "REGULARIZERS": "regularizer", "MODELS": "model", "DOMAINS": "domain"}
"""The registries, as code names them, and what each holds."""
_PACKAGE = Path(__file__).resolve().parent
_PARTS = ("data", "models", "methods", "regularizers")


@dataclass(frozen=True)
class Listed:
    """A registered name with what its registry knows of it (`registry.Entry`)."""

    kind: str
    name: str
    summary: str
    family: str = ""
    paper: str = ""
    use: str = ""
    missing: str = ""
    recipe: str = ""


@dataclass(frozen=True)
class ListedRecipe:
    """A recipe that comes with the toolkit."""

    name: str
    path: Path
    summary: str
    reported: str
    """The published score and its paper, if there is one."""


def recipe_files() -> dict[str, Path]:
    """Names and files of the recipes that come with the toolkit: of the checkout, or of the installed package."""
    folders = (_PACKAGE / "recipes", _PACKAGE.parent / "recipes")
    folder = next((folder for folder in folders if folder.is_dir()), folders[0])
    return {file.stem: file for file in sorted(folder.glob("[!_]*.py"))}


def listed(kind: str, pattern: str = "*", family: str = "*") -> list[Listed]:
    """What is registered of one kind ("method", ...), by name; `pattern` and `family` are shell patterns."""
    return [
        entry
        for entry in _registered()
        if entry.kind == kind and fnmatch.fnmatch(entry.name, pattern) and fnmatch.fnmatch(entry.family, family)
    ]


def list_methods(pattern: str = "*", family: str = "*") -> list[str]:
    """Names of methods that match shell patterns.

    Examples:
        >>> import da_toolkit as dt
        >>> dt.list_methods("*ent*")
        ['advent', 'advent_multi', 'minent', 'tent']
    """
    return [entry.name for entry in listed("method", pattern, family)]


def listed_recipes() -> list[ListedRecipe]:
    """The recipes that come with the toolkit, by name."""
    return [_recipe(name, path) for name, path in recipe_files().items()]


@cache
def _registered() -> tuple[Listed, ...]:
    files = (file for part in _PARTS for file in sorted((_PACKAGE / part).rglob("*.py")))
    found = (entry for file in files for entry in _entries(ast.parse(file.read_text(encoding="utf-8"))))
    return tuple(sorted(found, key=lambda entry: entry.name))


def _entries(module: ast.Module) -> Iterator[Listed]:
    for node in module.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef):
            continue
        for call in node.decorator_list:
            match call:
                case ast.Call(func=ast.Attribute(value=ast.Name(id=registry), attr="register")) if registry in KINDS:
                    name = ast.literal_eval(call.args[0]) if call.args else node.name
                    told = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg}
                    yield Listed(KINDS[registry], name, _first_line(node), **told)


def _recipe(name: str, path: Path) -> ListedRecipe:
    module = ast.parse(path.read_text(encoding="utf-8"))
    reported = ""
    for node in ast.walk(module):
        match node:
            case ast.Call(func=ast.Name(id="Reported")):
                told = {word.arg: word.value for word in node.keywords}
                reported = f"{ast.literal_eval(told['miou'])} ({ast.literal_eval(told['paper'])})"
    return ListedRecipe(name, path, _first_line(module), reported)


def _first_line(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]
