"""Unusable images that several processes meet: counted together, and too many end all of them with one telling."""

import subprocess
import sys
from itertools import islice

import numpy as np
import pytest
from PIL import Image
from ranks import two_ranks

from da_toolkit.data.encodings import RawClasses
from da_toolkit.data.files import FileDomainData, Pair
from da_toolkit.data.labels import CITYSCAPES19
from da_toolkit.data.sampling import EpochSampler
from da_toolkit.errors import UserError
from da_toolkit.methods import PseudoLabels, SourceOnly
from da_toolkit.training.trainer import Trainer

COUNT = 8


@pytest.fixture
def target(tmp_path, toy):
    """Function: pairs on disk, of which the images of some indices are empty files."""

    def make(broken):
        data, pairs = toy(COUNT, seed=3), []
        for index in range(COUNT):
            image, label = tmp_path / f"{index}.png", tmp_path / f"{index}_ids.png"
            Image.fromarray(data.image(index)).save(image)
            Image.fromarray(data._label(index)).save(label)
            pairs.append(Pair(f"toy_{index}", image, label))
        for index in broken:
            pairs[index].image.write_bytes(b"")
        classes = RawClasses({number: name for number, name in enumerate(CITYSCAPES19.classes)})
        return FileDomainData("Files", "train", pairs, classes, CITYSCAPES19)

    return make


def dealt():
    """The target images of the first step of two ranks with two images each, by rank."""
    return [[index for _, index in next(iter(EpochSampler(COUNT, 2, 1, 0, rank, 2)))] for rank in range(2)]


def outcome(trainer, work):
    """What a rank says of an error, if one ends it, and the target images that it then knows to be unusable."""
    told = "went on"
    trainer.images.faults.warn = lambda text: None
    try:
        work(trainer)
    except UserError as error:
        told = str(error)
    finally:
        trainer.images.close()
    return {"told": told, "known": sorted(trainer.images.faults.known[1])}


def a_step(trainer):
    list(islice(iter(trainer.step, None), 1))


def the_pass(trainer):
    trainer.begin(trainer.recipe.schedule.stages[1])


@pytest.mark.parametrize("work", [a_step, the_pass])
@pytest.mark.parametrize(("allowed", "by_rank"), [(0.2, (1, 1)), (0.3, (1, 1)), (0.1, (0, 1)), (0.2, (0, 1))])
def test_ranks_count_together_and_end_together(tmp_path, tiny_recipe, toy, target, work, allowed, by_rank):
    shares = dealt()
    broken = sorted(index for share, count in zip(shares, by_rank, strict=True) for index in share[:count])
    data = target(broken)
    recipe = tiny_recipe(SourceOnly(regularizers=(PseudoLabels(),)), 4, rounds=True)

    def run(fabric):
        return outcome(Trainer(recipe, fabric, toy(COUNT), data, bad_files=allowed), work)

    first, second = two_ranks(run, tmp_path)
    assert first["known"] == second["known"] == broken
    if len(broken) > allowed * COUNT:
        counted = f"{len(broken)} of 8 images of Files train cannot be used, more than --bad-files {allowed:g} allows."
        assert first["told"].startswith(counted) and second["told"] == ""
    else:
        assert first["told"] == second["told"] == "went on"


RECIPE = """
from da_toolkit.data import Folder
from da_toolkit.evaluation.inference import Evaluation
from da_toolkit.methods import SourceOnly, Entropy
from da_toolkit.models.deeplab import LightDeepLabV3Plus
from da_toolkit.recipe import AdamW, Recipe, Schedule, Stage

recipe = Recipe(
    source=Folder(root="data", size=(64, 96)),
    target=Folder(root="data", size=(64, 96)),
    model=LightDeepLabV3Plus("test_resnet", weights="none", width=8),
    method=SourceOnly(regularizers=(Entropy(),)),
    schedule=Schedule((Stage("train", 30),)),
    optimizer=AdamW(lr=1e-3),
    evaluation=Evaluation(validators=0),
)
"""


def test_two_processes_end_with_one_paragraph(tmp_path):
    """Neither has met more than are allowed in the epoch's first half; together they have."""
    (tmp_path / "own.py").write_text(RECIPE)
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind, shape in (("images", (64, 96, 3)), ("labels", (64, 96))):
            (tmp_path / "data" / split / kind).mkdir(parents=True)
            for index in range(COUNT):
                values = random.integers(0, 3, shape).astype(np.uint8)
                Image.fromarray(values).save(tmp_path / "data" / split / kind / f"{index}.png")
    order = np.random.default_rng((0, 0)).permutation(COUNT)  # of the source, in the first epoch
    for place in (0, 1):
        (tmp_path / "data" / "train" / "images" / f"{order[place]}.png").write_bytes(b"")
    words = ["own.py", "--devices", "2", "--workers", "0", "--tracking", "none", "--bad-files", "0.2"]
    run = subprocess.run(
        [sys.executable, "-m", "da_toolkit.run", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    told = run.stdout + run.stderr
    assert run.returncode == 2 and "Traceback" not in told, told
    assert told.count("error:") == told.count("error: 2 of 8 images of Folder train cannot be used, more than") == 1
