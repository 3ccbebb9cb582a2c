"""Reading the folders of finished runs: results, evaluations on the way, counts per image, pictures."""

import json
import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from da_toolkit.errors import UserError, nearest

_MANY = 500  # runs that are looked at for the one that is meant
_COPIES = {"mlartifacts", "mlruns", "reruns"}  # a tracker's copies and repetitions are no runs of their own


@dataclass(frozen=True)
class Evaluation:
    """One look at the validation images while a run trained."""

    step: int
    miou: dict[str, float | None]
    """Protocol -> percent; none where no scored class occurred."""
    validators: dict[str, float]
    """Label-free scores, higher predicted to be better; only those that are known."""


@dataclass(frozen=True)
class Confusions:
    """Pixel counts of each validation image at the last evaluation."""

    keys: tuple[str, ...]
    """Names of the images."""
    counts: np.ndarray
    """int64 [images,C,C], rows = label, columns = prediction."""


@dataclass(frozen=True)
class Run:
    """A finished run's folder."""

    folder: Path
    result: dict[str, Any]
    """Contents of `result.json`."""

    @property
    def label(self) -> str:
        """Recipe, seed and steps."""
        return f"{self.result['recipe']}, seed {self.result['seed']}, {self.result.get('steps', 'unknown')} steps"

    @cached_property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """In step order; read from `metrics.jsonl` for results older than the list; empty if neither knows.

        Raises:
            UserError: naming the damaged file.
        """
        if "evaluations" in self.result:
            return tuple(_evaluation(entry, self.folder / "result.json") for entry in self.result["evaluations"])
        return tuple(_logged(self.folder / "metrics.jsonl", list(self.result["scores"])))

    @cached_property
    def confusions(self) -> Confusions | None:
        """None if the run kept none. Raises `UserError` for a damaged file."""
        file = self.folder / "confusions.npz"
        if not file.exists():
            return None
        try:
            with np.load(file, allow_pickle=False) as arrays:
                counts, keys = arrays["counts"], tuple(str(key) for key in arrays["keys"])
        except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise _damaged(file, error) from error
        if counts.ndim != 3 or counts.shape[1] != counts.shape[2] or len(keys) != len(counts):
            raise _damaged(file, f"counts {counts.shape} of {len(keys)} images")
        return Confusions(keys, counts)

    def pictures(self) -> dict[int, dict[str, Path]]:
        """Number -> "image", "label" and "prediction" -> file; only numbers that have all three."""
        return kept_pictures(self.folder)


def kept_pictures(folder: Path) -> dict[int, dict[str, Path]]:
    """Number -> "image", "label" and "prediction" -> file, of a run's folder; only numbers that have all three."""
    names = {"image": "image.jpg", "label": "label.png", "prediction": "prediction.png"}
    found = {}
    for image in (folder / "predictions").glob("*_image.jpg"):
        number = image.name.removesuffix("_image.jpg")
        files = {kind: image.with_name(f"{number}_{name}") for kind, name in names.items()}
        if number.isdigit() and all(file.exists() for file in files.values()):
            found[int(number)] = files
    return dict(sorted(found.items()))


def must_be_folder(place: Path) -> None:
    """Raises `UserError`, with the run that is meant, where `place` is no folder."""
    if not place.is_dir():
        raise UserError(
            f"{place} is not a folder.{_meant(place)} Give the folder of a run, such as runs/adaptseg_gta/0, or of "
            "many."
        )


def _meant(place: Path, finished: bool = False) -> str:
    """ " Did you mean 'runs/x/0'?" of the nearest run, or folder of runs, beside that place or in runs/.

    Args:
        finished: whether only a finished run will do.
    """
    for top in dict.fromkeys((Path("runs"), *place.parents[:2])):
        runs = islice(_runs_in(top), _MANY) if top.name else ()  # of neither "." nor "/"
        known: dict[str, Path] = {}
        for run in runs:
            if not finished:
                known[str(run.parent.relative_to(top))] = run.parent
            if not finished or (run / "result.json").exists():
                known[str(run.relative_to(top))] = run
        asked = place.relative_to(top) if place.is_relative_to(top) else place
        if near := nearest(str(asked), known):
            return f" Did you mean {str(known[near])!r}?"
    return ""


def _runs_in(top: Path) -> Iterator[Path]:
    """Folders of runs as they usually lie, TOP/RECIPE/SEED, and in TOP itself: no whole disk is searched."""
    for pattern in ("*/re*.json", "*/*/re*.json"):
        yield from (file.parent for file in top.glob(pattern) if file.name in ("recipe.json", "result.json"))


def find_runs(places: Sequence[Path]) -> tuple[list[Run], list[Path]]:
    """The finished runs in these folders at any depth, and the folders of runs that have not ended.

    Runs come in the order of `places`, then by folder, then by seed; a folder named twice is read once.

    Raises:
        UserError: a place does not exist or holds no finished run, a result is damaged, or one seed of a recipe was
            found twice.
    """
    runs: dict[Path, Run] = {}
    unfinished: dict[Path, Path] = {}
    for place in places:
        must_be_folder(place)
        found = [
            read_run(folder) if finished else folder
            for folder, finished in run_folders(place)
            if folder.resolve() not in runs
        ]
        finished_here = [entry for entry in found if isinstance(entry, Run)]
        for run in sorted(finished_here, key=lambda run: (run.folder.parent, run.result["seed"], run.folder)):
            runs[run.folder.resolve()] = run
        unfinished |= {entry.resolve(): entry for entry in found if isinstance(entry, Path)}
    if not runs:
        also = f"; {len(unfinished)} have begun and not ended" if unfinished else ""
        raise UserError(
            f"No finished run in {', '.join(map(str, places))}: no folder there holds a result.json{also}. Train one "
            "with python -m da_toolkit.run RECIPE, or name the folder given to --runs."
        )
    _refuse_twins(list(runs.values()))
    return list(runs.values()), list(unfinished.values())


def run_folders(place: Path) -> Iterator[tuple[Path, bool]]:
    """Folders of runs, and whether each has ended."""
    for folder, below, files in os.walk(place):
        if "result.json" in files or "recipe.json" in files:
            below.clear()
            yield Path(folder), "result.json" in files
        below[:] = sorted(name for name in below if name not in _COPIES)


_OPTIONAL: dict[str, tuple[type, ...]] = {
    "steps": (int, NoneType),
    "seconds": (int, float, NoneType),
    "peak_memory_mb": (int, float, NoneType),
    "commit": (str, NoneType),
    "device": (str, NoneType),
    "reported": (dict, NoneType),
}


def read_run(folder: Path) -> Run:
    """The run in that folder. Raises `UserError` naming the file if a result is missing or damaged."""
    file = folder / "result.json"
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        if (folder / "recipe.json").exists():
            raise UserError(
                f"{file} is not there: the run in {folder}, which is not the folder of a finished run, has begun and "
                "not ended. The command that began it goes on with it."
            ) from error
        raise UserError(
            f"{file} cannot be read ({error.strerror}): {folder} is not the folder of a finished run, such as "
            f"runs/adaptseg_gta/0.{_meant(folder, finished=True)}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(file, error) from error
    if not isinstance(result, dict):
        raise _damaged(file, "it holds no object")
    for key, kind in (("recipe", str), ("method", str), ("seed", int), ("scores", dict)):
        if not isinstance(result.get(key), kind):
            raise _damaged(file, f"{key!r} is missing or no {kind.__name__}")
    for protocol, scores in result["scores"].items():
        if not isinstance(scores, dict) or "miou" not in scores or not isinstance(scores.get("per_class"), dict):
            raise _damaged(file, f"the scores of {protocol!r} lack 'miou' or 'per_class'")
        values = {"miou": scores["miou"], **scores["per_class"]}
        if bad := [name for name, value in values.items() if not isinstance(value, int | float | None)]:
            raise _damaged(file, f"{bad[0]!r} of {protocol!r} is no number")
    for key, kinds in _OPTIONAL.items():
        if not isinstance(result.get(key), kinds):
            raise _damaged(file, f"{key!r} is no {' or '.join(kind.__name__ for kind in kinds)}")
    if not isinstance(result.get("evaluations", []), list):
        raise _damaged(file, "'evaluations' is no list")
    return Run(folder, result)


def _evaluation(entry: Any, file: Path) -> Evaluation:
    try:
        return Evaluation(
            int(entry["step"]),
            {protocol: scores["miou"] for protocol, scores in entry["scores"].items()},
            _finite(entry.get("validators") or {}),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _damaged(file, f"an entry of 'evaluations' is wrong: {error!r}") from error


def _logged(file: Path, protocols: list[str]) -> Iterator[Evaluation]:
    """The evaluations among the lines of a `metrics.jsonl`; of a step that was logged twice, the later one."""
    found: dict[int, Evaluation] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines() if file.exists() else [], 1):
        try:
            values = json.loads(line)
            miou = {name: values[f"miou_{name}"] for name in protocols if f"miou_{name}" in values}
            if miou:
                known = {name[10:]: value for name, value in values.items() if name.startswith("validator_")}
                found[values["step"]] = Evaluation(values["step"], miou, _finite(known))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(file, f"line {number}: {error!r}") from error
    yield from (found[step] for step in sorted(found))


def _finite(values: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}


def _refuse_twins(runs: Sequence[Run]) -> None:
    """Two folders with one recipe, seed and number of steps must not pass for two seeds."""
    seen: dict[tuple[Any, ...], Run] = {}
    for run in runs:
        key = run.result["recipe"], run.result["seed"], run.result.get("steps")
        if key in seen:
            raise UserError(
                f"{seen[key].folder} and {run.folder} both hold {run.label}. They would count as two seeds: name only "
                "the folders of one of them."
            )
        seen[key] = run


def _damaged(file: Path, reason: object) -> UserError:
    return UserError(f"{file} is damaged ({reason}). Run the recipe again, or leave {file.parent} out.")
