"""A recipe: one frozen object that says everything a run does. What you read is what runs."""

import dataclasses
import hashlib
import importlib
import importlib.util
import json
import re
import sys
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from da_toolkit import own_code
from da_toolkit.data.domain import Domain
from da_toolkit.data.meeting import meet
from da_toolkit.data.rare_classes import RareClasses
from da_toolkit.data.transforms import Augmentation
from da_toolkit.errors import UserError, unknown_name
from da_toolkit.evaluation.inference import Evaluation
from da_toolkit.methods.term import Method
from da_toolkit.models.settings import ModelSettings
from da_toolkit.setting_values import check_values
from da_toolkit.training.optim import SGD, LearningRate, Optimizer
from da_toolkit.training.stages import Stage, rounds

__all__ = ["Recipe", "Reported", "Schedule", "Stage", "find_recipe", "load_recipe", "recipe_files", "rounds"]


@dataclass(frozen=True)
class Schedule:
    """The stages of a run, one after the other."""

    stages: tuple[Stage, ...] = (Stage("train", 1000),)

    def __post_init__(self) -> None:
        if not isinstance(self.stages, tuple) or not self.stages:
            raise UserError("schedule.stages needs at least one stage, in a tuple.")

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return sum(stage.steps for stage in self.stages)

    def scaled(self, steps: int) -> "Schedule":
        """The same stages in the same proportion, `steps` together, but at least one each; the longest takes what
        rounding leaves. Raises `UserError` below 1 step."""
        if steps < 1:
            raise UserError(f"A run needs at least 1 step, got {steps}.")
        scaled = [max(1, round(stage.steps * steps / self.steps)) for stage in self.stages]
        longest = scaled.index(max(scaled))
        scaled[longest] = max(1, scaled[longest] + steps - sum(scaled))
        return Schedule(tuple(dataclasses.replace(s, steps=n) for s, n in zip(self.stages, scaled, strict=True)))


@dataclass(frozen=True)
class Reported:
    """A published score. It stands in a column of its own and is never mixed with measured ones."""

    miou: float
    """Percent."""
    paper: str
    note: str = ""
    protocol: str = "cityscapes19"


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run's result, except the seed and the machine."""

    source: Domain
    target: Domain
    model: ModelSettings
    method: Method
    schedule: Schedule = field(default_factory=Schedule)
    optimizer: Optimizer = field(default_factory=SGD)
    learning_rate: LearningRate = field(default_factory=LearningRate)
    batch_size: int = 1
    """Images of each domain per step and process."""
    accumulate: int = 1
    """Batches whose gradients are summed into one optimiser step."""
    source_augmentation: Augmentation = field(default_factory=Augmentation)
    target_augmentation: Augmentation = field(default_factory=Augmentation)
    rare_classes: RareClasses | None = None
    """Draw source images by the classes they have; by default all come equally often."""
    evaluation: Evaluation = field(default_factory=Evaluation)
    reported: Reported | None = None

    def __post_init__(self) -> None:
        kinds = {"source": Domain, "target": Domain, "model": ModelSettings, "method": Method}
        for name, kind in kinds.items():
            if not isinstance(value := getattr(self, name), kind):
                raise UserError(
                    f"{name} must be the settings of one, such as {_EXAMPLES[name]}; got {value!r}"
                    + (", the class itself: add brackets." if isinstance(value, type) else ".")
                )
        check_values(self)
        for name in ("batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.method.class_balance < 0:
            raise UserError(f"method.class_balance must be at least 0 (0 = off), got {self.method.class_balance}.")
        for regularizer in self.method.regularizers:
            if regularizer.needs_source and not self.method.reads.source:
                name = type(regularizer).__name__
                method = type(self.method).__name__
                raise UserError(f"{name} works on source images, and {method} reads none: leave it out.")
            regularizer.check(self.schedule.stages, self.method.reads)
        for name, met in zip(("source", "target"), meet(self.source, self.target), strict=True):
            object.__setattr__(self, name, met)
        if self.rare_classes is not None and not self.method.reads.source:
            raise UserError("rare_classes chooses source images, and this method reads none: set it to none.")

    @property
    def evaluation_size(self) -> tuple[int, int]:
        """Height and width at which target images are scored."""
        return self.evaluation.size or self.target.size

    def to_json(self) -> dict[str, Any]:
        """The resolved settings as plain JSON values, each dataclass with its class name."""
        return _plain(self)

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> "Recipe":
        """The recipe that `to_json` wrote; classes of a recipe file are known once that is loaded.

        Raises `UserError` for anything else. Nothing that the tree names is run.
        """
        try:
            recipe = _rebuilt(tree)
        except (KeyError, TypeError, AttributeError, ImportError, ValueError) as error:
            raise UserError(f"These are not the settings of a recipe ({type(error).__name__}: {error}).") from error
        if not isinstance(recipe, cls):
            raise UserError(f"These are not the settings of a recipe but of a {type(recipe).__name__}.")
        return recipe


_EXAMPLES = {"source": "GTA5()", "target": "Cityscapes()", "model": "DeepLabV2()", "method": "Adversarial()"}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        module = type(value).__module__
        code = {"code": _digest(module)} if module.startswith(own_code.PREFIX) else {}
        return {"class": f"{module}.{type(value).__name__}", **code, **fields}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _rebuilt(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_rebuilt(item) for item in value)
    if not isinstance(value, dict):
        return value
    module, _, name = value["class"].rpartition(".")
    if module.startswith(own_code.PREFIX) and module not in sys.modules:
        file = f"{module.removeprefix(own_code.PREFIX)}.py"
        raise UserError(f"{name} is a class of the recipe file {file}: name that file too, so that it is known.")
    if not module.startswith(("da_toolkit.", own_code.PREFIX)):
        raise ValueError(f"{value['class']} is not one of da_toolkit's settings classes")
    kind = getattr(importlib.import_module(module), name)
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise TypeError(f"{value['class']} is not a settings class")
    if module.startswith(own_code.PREFIX) and value.get("code") != _digest(module):
        file = module.removeprefix(own_code.PREFIX)
        told = f"{file}.py has changed since this run; {name} may mean something else now."
        warnings.warn(told, stacklevel=2)
    hints = get_type_hints(kind)
    names = (key for key in value if key not in ("class", "code"))
    return kind(**{name: _as_annotated(_rebuilt(value[name]), hints.get(name)) for name in names})


def _as_annotated(value: Any, hint: Any) -> Any:
    """What JSON does not tell apart: lists from tuples, and paths from text."""
    kinds = {get_origin(part) or part for part in (hint, *get_args(hint))}
    if isinstance(value, tuple) and list in kinds:
        return list(value)
    return Path(value) if isinstance(value, str) and Path in kinds else value


def _wrong_type(error: Exception) -> str:
    """What `check_values` says of the settings whose own check stumbled over a value of a wrong type, if one did."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        settings = frame.f_locals.get("self")
        if frame.f_code.co_name == "__post_init__" and dataclasses.is_dataclass(settings):
            try:
                check_values(settings, f"{type(settings).__name__}.")
            except UserError as told:
                return str(told)
            except (AttributeError, NameError):  # a setting that is not set yet, or annotated for type checkers alone
                continue
    return ""


def _unknown_setting(error: Exception, names: dict[str, Any]) -> str:
    """The nearest settings of a class among `names` that was given one it does not have, if that is the error."""
    found = re.fullmatch(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'.*", str(error))
    kind = names.get(found[1]) if found else None
    if found is None or not dataclasses.is_dataclass(kind):
        return ""
    settable = (entry.name for entry in dataclasses.fields(kind) if entry.init)
    return str(unknown_name(f"setting of {found[1]}", found[2], settable))


def _digest(module: str) -> str:
    """A hash of a recipe file, so that a run knows when the code of its own classes changes."""
    return hashlib.sha256(Path(str(sys.modules[module].__file__)).read_bytes()).hexdigest()[:16]


def flatten(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and leaf values of `to_json`'s tree, for tracking and for showing differences."""
    if isinstance(tree, dict):
        items = [(key, item) for key, item in tree.items()]
    elif isinstance(tree, list) and any(isinstance(item, dict | list) for item in tree):
        items = [(str(number), item) for number, item in enumerate(tree)]
    else:
        yield prefix, json.dumps(tree) if isinstance(tree, list) else tree
        return
    for key, item in items:
        yield from flatten(item, f"{prefix}.{key}" if prefix else key)


def recipe_files() -> dict[str, Path]:
    """Names and files of the recipes that come with the toolkit."""
    folder = Path(__file__).resolve().parent.parent / "recipes"
    return {file.stem: file for file in sorted(folder.glob("[!_]*.py"))}


def find_recipe(name_or_path: str) -> Path:
    """A recipe's file, by path or by name. Raises `UserError` with the nearest name."""
    path, known = Path(name_or_path), recipe_files()
    if path.is_file():
        return path
    if path.stem in known and path.suffix in ("", ".py") and path.parent.name in ("", "recipes"):
        return known[path.stem]  # so that recipes/NAME.py works from any folder
    if path.suffix == ".py":
        raise UserError(f"The recipe file {path} does not exist. `python -m da_toolkit.run --list` shows the names.")
    if Path(f"{name_or_path}.py").is_file():
        raise UserError(f"{name_or_path!r} is no recipe's name. Did you mean the file {path}.py?")
    raise unknown_name("recipe", name_or_path, known)


def load_recipe(path: Path) -> Recipe:
    """Run a recipe file and return its `recipe`. Raises `UserError` that names the file and the line."""
    spec = importlib.util.spec_from_file_location(f"{own_code.PREFIX}{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"The recipe {path} is not a Python file; its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where the command line looks for the source of a recipe's own classes
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UserError(f"Recipe {path}, line {error.lineno}: {error.msg}. Mend the syntax there.") from error
    except Exception as error:  # a recipe is the user's code: anything it raises is theirs to see, in one line
        where = own_code.line_of(error) or path
        what = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}."
        what = _wrong_type(error) or _unknown_setting(error, vars(module)) or what
        raise UserError(f"Recipe {where}: {what}") from error
    if not hasattr(module, "recipe"):
        raise UserError(f"Recipe {path} must define `recipe = Recipe(...)`, and defines no `recipe`.")
    if not isinstance(module.recipe, Recipe):
        raise UserError(f"Recipe {path} must define `recipe = Recipe(...)`; its `recipe` is {module.recipe!r}.")
    recipe: Recipe = module.recipe
    return recipe
