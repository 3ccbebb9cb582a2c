"""Writes an export's folder: the file, its card and the recipe, ready for a hub."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from da_toolkit.errors import UserError
from da_toolkit.exporting.card import Told, card, siblings
from da_toolkit.exporting.deployed import Deployed
from da_toolkit.exporting.equality import Equality, measured
from da_toolkit.exporting.programs import FILES, write_program
from da_toolkit.files import disk_error
from da_toolkit.report.runs import Run
from da_toolkit.runs.folder import load_network
from da_toolkit.runs.trained import TrainedRun

Kind = Literal["onnx", "torch-export", "safetensors"]
SETTING = "--output"

_LOADING = {
    "onnx": """```python
import numpy as np, onnxruntime
from PIL import Image

image = Image.open("photo.jpg").convert("RGB").resize(({width}, {height}))
batch = np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 255
session = onnxruntime.InferenceSession("model.onnx")
train_ids = session.run(["logits"], {{"images": batch}})[0].argmax(1)
```

The file's metadata hold the class names and colours (`classes`, `palette`).""",
    "torch-export": """```python
import numpy as np, torch
from PIL import Image

image = Image.open("photo.jpg").convert("RGB").resize(({width}, {height}))
batch = torch.from_numpy(np.asarray(image, np.float32) / 255).permute(2, 0, 1)[None]
train_ids = torch.export.load("model.pt2").module()(batch).argmax(1)
```""",
    "safetensors": """```python
import da_toolkit as dt

run = dt.load_run("this/folder")
run.predict("photo.jpg").mask()
```

or `da-toolkit predict this/folder photo.jpg`.""",
}


def export(run: TrainedRun, kind: Kind, output: Path, overwrite: bool = False, seeds: Sequence[Run] = ()) -> Equality:
    """Write the folder, whole or not at all; how equal its network is to the run's.

    Args:
        seeds: finished runs, among which those of the same recipe are told in the card.

    Raises:
        UserError: the folder is not empty, the network cannot be exported, or the disk refuses.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())) and not overwrite:
        raise UserError(f"{SETTING} {output} is there already: name another folder, or pass --overwrite.")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as temporary:
            equality = _write(run, kind, Path(temporary), seeds)
            output.mkdir(exist_ok=True)
            for file in Path(temporary).iterdir():
                file.replace(output / file.name)
    except OSError as error:
        raise disk_error(output, error, SETTING) from error
    return equality


def _write(run: TrainedRun, kind: Kind, folder: Path, seeds: Sequence[Run]) -> Equality:
    space, recipe = run.label_space, run.recipe
    network = Deployed(load_network(run.folder, recipe, run.weights))
    size = recipe.evaluation.view_sizes(recipe.evaluation_size)[0]
    settings = json.loads((run.folder / "recipe.json").read_text(encoding="utf-8"))
    (folder / "recipe.json").write_text(json.dumps(_shareable(settings), indent=2) + "\n", encoding="utf-8")
    if kind == "safetensors":
        file, takes = "model.safetensors", "what the network takes; the recipe's evaluation decides the rest"
        equality, how = _copied(run, network, folder, size), "da_toolkit, loading this folder"
    else:
        facts: dict[str, Any] = {"recipe": run.result["recipe"], "seed": run.result["seed"], "size": size}
        facts |= {"classes": space.classes, "palette": space.palette}
        written = write_program(network, kind, folder, size, step_of(network), facts)
        file, takes = FILES[kind], written.freedom.told(size)
        equality, how = written.equality, written.measured_in
    told = Told(file, _loading(kind, size), takes, _told(equality, how))
    (folder / "README.md").write_text(card(run, siblings(run, seeds), told), encoding="utf-8")
    about: dict[str, Any] = {"classes": space.classes, "palette": space.palette, "size": size, "takes": takes}
    about |= {"equality": equality.to_json(), "measured_in": how}
    (folder / "config.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return equality


def _copied(run: TrainedRun, network: Deployed, folder: Path, size: tuple[int, int]) -> Equality:
    """A run's folder with no more than is needed to load it."""
    shutil.copyfile(run.folder / run.weights, folder / "model.safetensors")
    shutil.copyfile(run.folder / "result.json", folder / "result.json")
    again = Deployed(load_network(folder, run.recipe))

    def of_copy(batch: np.ndarray) -> np.ndarray:
        found: np.ndarray = again(torch.from_numpy(batch)).numpy()
        return found

    return measured(network, of_copy, [(1, *size)])


def _shareable(tree: Any, key: str = "") -> Any:
    """Settings without absolute paths of weights and data, which loading a network does not need."""
    if isinstance(tree, dict):
        return {name: _shareable(value, name) for name, value in tree.items()}
    if isinstance(tree, list):
        return [_shareable(value) for value in tree]
    return Path(tree).name if key in ("weights", "root") and isinstance(tree, str) and "/" in tree else tree


def step_of(network: Deployed) -> int:
    """Pixels by which image sizes may have to go: a transformer's patch, else the coarsest stride."""
    backbone = network.network.backbone
    patch: tuple[int, int] | None = getattr(backbone, "patch", None)
    return int(max(patch if patch is not None else backbone.feature_info.reduction()))  # type: ignore[operator,union-attr]


def _loading(kind: Kind, size: tuple[int, int]) -> str:
    return _LOADING[kind].format(height=size[0], width=size[1]) if kind in FILES else _LOADING[kind]


def _told(equality: Equality, how: str) -> str:
    shapes = ", ".join("x".join(map(str, shape)) for shape in equality.shapes)
    return (
        f"Equality with the run's network in PyTorch, measured with {how} on made-up images of {shapes} (images x "
        f"height x width): the logits differ by {equality.difference:.1e} at most, {equality.relative:.1e} of the "
        "largest, and "
        f"{100 * equality.agreement:.3f} % of the pixels have the same class."
    )
