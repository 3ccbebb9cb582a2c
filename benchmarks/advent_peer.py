"""A two-level AdvEnt step at the published sizes against ADVENT's own training loop, in turns, and what each keeps.

    python benchmarks/advent_peer.py PATH [--ways fp32 bf16 ...] [--scale 1] [--rounds 7]

PATH is an unmodified checkout of github.com/valeoai/ADVENT: its network, its discriminators and its `train_advent` are
imported from there (`peer.py` says how they take turns).
"""

import contextlib
import dataclasses
import io
import os
import sys
import types
from pathlib import Path
from typing import Any

import peer
import torch
from peer import CLASSES, Peer, Turns, random_batch
from step_time import PUBLISHED

from da_toolkit.data.batch import Batch
from da_toolkit.errors import UserError, exits_cleanly
from da_toolkit.recipe import SGD, Recipe, Schedule, Stage, load_recipe, recipe_files
from da_toolkit.recipe.demo import demo_version
from da_toolkit.registry import METHODS

table = peer.table


def recipe() -> Recipe:
    """ADVENT's settings."""
    return dataclasses.replace(
        demo_version(load_recipe(recipe_files()["source_only_gta"])),
        method=METHODS["advent_multi"].build(),
        model=PUBLISHED,
        optimizer=SGD(lr=2.5e-4, momentum=0.9, weight_decay=5e-4),
        schedule=Schedule((Stage("train", 100_000),)),
        batch_size=1,
    )


def images(scale: float) -> tuple[Batch, Batch]:
    """A source image of 1280x720 and a target image of 1024x512."""
    return random_batch(1, (720, 1280), scale, True), random_batch(1, (512, 1024), scale, False)


def run(checkout: Path, scale: float, turns: Turns, steps: int) -> None:
    """ADVENT's training for that many steps."""
    train_advent, get_deeplab_v2 = imported(checkout)
    source, target = images(scale)
    training = types.SimpleNamespace(
        INPUT_SIZE_SOURCE=source.image.shape[:1:-1],
        INPUT_SIZE_TARGET=target.image.shape[:1:-1],
        TENSORBOARD_LOGDIR="",
        LEARNING_RATE=2.5e-4,
        MOMENTUM=0.9,
        WEIGHT_DECAY=5e-4,
        LEARNING_RATE_D=1e-4,
        MULTI_LEVEL=True,
        LAMBDA_SEG_MAIN=1.0,
        LAMBDA_SEG_AUX=0.1,
        LAMBDA_ADV_MAIN=1e-3,
        LAMBDA_ADV_AUX=2e-4,
        MAX_ITERS=100_000,
        POWER=0.9,
        SAVE_PRED_EVERY=100_000,
        EARLY_STOP=steps - 1,
    )
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    settings = types.SimpleNamespace(TRAIN=training, GPU_ID=device, NUM_CLASSES=CLASSES)
    labelled = turns.batches((source.image, source.label, None, None))
    unlabelled = iter(lambda: (target.image, None, None, None), None)
    with contextlib.redirect_stdout(io.StringIO()):
        train_advent(get_deeplab_v2(CLASSES, True), labelled, unlabelled, settings)


def imported(checkout: Path) -> tuple[Any, Any]:
    """ADVENT's loop and the maker of its network. Raises `UserError` for a folder without them."""
    if not (checkout / "advent" / "domain_adaptation" / "train_UDA.py").exists():
        raise UserError(f"{checkout} is no checkout of ADVENT: it lacks advent/domain_adaptation/train_UDA.py.")
    os.environ["TQDM_DISABLE"] = "1"
    sys.path.insert(0, str(checkout))
    writer: Any = types.ModuleType("tensorboardX")
    writer.SummaryWriter = None  # imported there, and not used without a folder for it
    sys.modules.setdefault("tensorboardX", writer)
    peer.without_gpu()
    from advent.domain_adaptation.train_UDA import train_advent
    from advent.model.deeplabv2 import get_deeplab_v2

    return train_advent, get_deeplab_v2


ADVENT = Peer("ADVENT's loop", Path(__file__).parent / "results" / "advent_peer.json", recipe, images, imported, run)

if __name__ == "__main__":
    exits_cleanly(lambda: peer.main(ADVENT, __doc__))
