"""A DACS step at the published sizes against its authors' own training loop, in turns, and what each keeps.

    python benchmarks/dacs_peer.py PATH [--ways fp32 bf16 ...] [--scale 1] [--rounds 7]

PATH is an unmodified checkout of github.com/vikolss/DACS, whose `trainUDA.main` runs with the settings of its
configs/configUDA.json (`peer.py` says how they take turns). Its data sets, its weights of COCO, its checkpoints and its
scoring at the end are replaced: random images of the sizes of its crops, random weights, nothing.
"""

import contextlib
import dataclasses
import io
import json
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import peer
import torch
from peer import CLASSES, Peer, Turns, random_batch

from da_toolkit.data.batch import Batch
from da_toolkit.errors import UserError, exits_cleanly
from da_toolkit.recipe import Recipe, load_recipe, recipe_files
from da_toolkit.recipe.demo import demo_version

IMAGES, CROP = 2, (512, 512)
table = peer.table


def recipe() -> Recipe:
    """The published recipe's method, network and optimiser."""
    published = load_recipe(recipe_files()["dacs_gta"])
    return dataclasses.replace(
        demo_version(load_recipe(recipe_files()["source_only_gta"])),
        method=published.method,
        model=dataclasses.replace(published.model, weights="none"),
        optimizer=published.optimizer,
        learning_rate=published.learning_rate,
        schedule=published.schedule,
        batch_size=IMAGES,
    )


def images(scale: float) -> tuple[Batch, Batch]:
    """Two crops of each domain."""
    return random_batch(IMAGES, CROP, scale, True), random_batch(IMAGES, CROP, scale, False)


class _Loader:
    """In the place of a data set and of its `DataLoader`: the same batch for ever."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return self.batches

    def __len__(self) -> int:
        return 1_000_000


def run(checkout: Path, scale: float, turns: Turns, steps: int) -> None:
    """DACS's training for that many steps."""
    script = imported(checkout)
    source, target = images(scale)
    settings = json.loads((checkout / "configs" / "configUDA.json").read_text())
    settings["utils"]["tensorboard"] = False
    mean = torch.tensor(script.IMG_MEAN).view(3, 1, 1)
    centred = [255 * batch.image - mean for batch in (source, target)]  # as its data sets give them
    if torch.cuda.is_available():
        centred = [image.pin_memory() for image in centred]
    loaders = {
        "gta": _Loader(turns.batches((centred[0], source.label, None, None))),
        "cityscapes": _Loader(iter(lambda: (centred[1], None, None, None, None), None)),
    }
    training, unlabelled = settings["training"], settings["training"]["unlabeled"]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        weights = Path(folder) / "weights.pth"
        torch.save(script.Res_Deeplab(num_classes=CLASSES).state_dict(), weights)
        given = {
            **{"config": settings, "args": types.SimpleNamespace(resume=None), "dataset": "cityscapes", "gpus": (0,)},
            **{"num_classes": CLASSES, "restore_from": str(weights), "ignore_label": settings["ignore_label"]},
            **{"input_size": tuple(source.image.shape[2:]), "num_iterations": steps, "num_workers": 0},
            **{name: training[name] for name in ("batch_size", "learning_rate", "lr_schedule", "momentum")},
            **{"lr_power": training["lr_schedule_power"], "weight_decay": training["weight_decay"]},
            **{"optimizer_type": training["optimizer"], "use_sync_batchnorm": False, "random_seed": settings["seed"]},
            **{"labeled_samples": training["data"]["labeled_samples"], "random_crop": False, "random_scale": False},
            **{name: unlabelled[name] for name in ("train_unlabeled", "mix_mask", "pixel_weight", "consistency_loss")},
            **{"consistency_weight": unlabelled["consistency_weight"], "random_flip": unlabelled["flip"]},
            **{"color_jitter": unlabelled["color_jitter"], "gaussian_blur": unlabelled["blur"]},
            **{"save_checkpoint_every": 10**9, "val_per_iter": 10**9, "log_per_iter": 10**9},
            **{"checkpoint_dir": folder, "save_best_model": False, "save_unlabeled_images": False},
            **{"get_loader": lambda name: lambda *_, **__: loaders[name]},
            **{"data": types.SimpleNamespace(DataLoader=lambda dataset, **_: dataset)},
            **{"evaluate": lambda *_, **__: (0.0, 0.0), "_save_checkpoint": lambda *_, **__: None},
        }
        with patch.multiple(script, create=True, **given):
            script.main()


def imported(checkout: Path) -> Any:
    """DACS's script as a module. Raises `UserError` for a folder without it."""
    if not (checkout / "trainUDA.py").exists():
        raise UserError(f"{checkout} is no checkout of DACS: it lacks trainUDA.py.")
    sys.path.insert(0, str(checkout))
    for name in ("scipy.misc", "evaluateUDA", "torch.utils.tensorboard"):  # what it imports for other things
        sys.modules.setdefault(name, _Anything(name))
    torch.utils.tensorboard = sys.modules["torch.utils.tensorboard"]
    peer.without_gpu()
    import trainUDA

    trainUDA.IMG_MEAN = np.array((104.00698793, 116.66876762, 122.67891434), dtype=np.float32)
    return trainUDA


class _Anything(types.ModuleType):
    """A module that has every name."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None


DACS = Peer("DACS's loop", Path(__file__).parent / "results" / "dacs_peer.json", recipe, images, imported, run)

if __name__ == "__main__":
    exits_cleanly(lambda: peer.main(DACS, __doc__))
