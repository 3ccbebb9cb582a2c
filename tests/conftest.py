"""Shared pieces: a toy domain in memory, a tiny network, and a cache of streets frames for the whole session."""

import os
import signal
import sys

import numpy as np
import pytest
import torch

from da_toolkit.data.domain import DomainData
from da_toolkit.data.labels import CITYSCAPES19


@pytest.fixture(scope="session", autouse=True)
def _interruptible():
    """A shell starts background jobs with Ctrl-C ignored, and their children inherit it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _streets_cache(tmp_path_factory):
    """Frames are rendered into a folder of the test session's own."""
    os.environ["DA_TOOLKIT_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)
    if "PYTEST_XDIST_WORKER" in os.environ:  # for the runs that tests start as processes of their own, too
        os.environ.setdefault("OMP_NUM_THREADS", "1")


class ToyData(DomainData):
    """Bands of classes with one colour each: learnable in a few steps, and labels can be forbidden."""

    def __init__(self, count=6, size=(64, 96), seed=0, shift=0, forbid_labels=False, space=CITYSCAPES19):
        super().__init__("Toy", "train", space, has_labels=True)
        self.count, self.size, self.seed, self.shift, self.forbid = count, size, seed, shift, forbid_labels

    def __len__(self):
        return self.count

    def key(self, index):
        return f"toy_{index}"

    def label(self, index):
        if self.forbid:
            raise AssertionError("target labels were read")
        return self._label(index)

    def _label(self, index):
        edges = np.random.default_rng((self.seed, index)).integers(8, 56, 2)
        label = np.zeros(self.size, np.uint8)
        label[min(edges) :] = 2
        label[max(edges) :] = 10
        return label

    def image(self, index):
        noise = np.random.default_rng((self.seed, index, 1)).integers(-20, 20, (*self.size, 3))
        colors = np.zeros((19, 3), int)
        colors[[0, 2, 10]] = [[200, 40, 40], [40, 200, 40], [40, 40, 200]]
        return np.clip(colors[self._label(index)] + noise + self.shift, 0, 255).astype(np.uint8)


@pytest.fixture
def toy():
    return ToyData


@pytest.fixture
def own_code(tmp_path):
    """Function: the file and the module of a text that is loaded as a recipe file's code, though it has no recipe."""

    def load(text):
        from da_toolkit.errors import UserError
        from da_toolkit.own_code import PREFIX
        from da_toolkit.recipe import load_recipe

        file = tmp_path / "own_code_of_a_test.py"
        file.write_text(text)
        with pytest.raises(UserError, match="defines no `recipe`"):
            load_recipe(file)
        return file, sys.modules[f"{PREFIX}{file.stem}"]

    yield load
    for name in [name for name in sys.modules if name.endswith("own_code_of_a_test")]:
        del sys.modules[name]


@pytest.fixture
def with_dropout():
    """A network that draws random numbers in every training step."""
    from da_toolkit.models.deeplab import LightDeepLabV3Plus

    return LightDeepLabV3Plus("test_resnet", weights="none", batch_norm="frozen", width=8, aux=True, dropout=0.5)


@pytest.fixture
def tiny_recipe():
    """Function: a recipe around a method, with a network of well under 1 M parameters."""
    from da_toolkit.data import Streets
    from da_toolkit.data.transforms import Augmentation
    from da_toolkit.models.deeplab import DeepLabV2
    from da_toolkit.recipe import AdamW, Recipe, Schedule, Stage

    def make(method, steps=4, aux=True, rounds=False, **changes):
        warm_up = max(1, steps // 3)
        stages = (
            (Stage("warm-up", warm_up), Stage("round 1", steps - warm_up, round=1))
            if rounds
            else (Stage("train", steps),)
        )
        settings = dict(
            source=Streets(size=(64, 96), frames=4, val_frames=2, render_size=(64, 96)),
            target=Streets(size=(64, 96), look="camera", frames=4, val_frames=2, render_size=(64, 96)),
            model=DeepLabV2("test_resnet", output_stride=16, weights="none", aux=aux, dilations=(1, 2)),
            method=method,
            schedule=Schedule(stages),
            optimizer=AdamW(lr=2e-3, head_multiplier=1),
            batch_size=2,
            source_augmentation=Augmentation(flip=True, scale=(0.8, 1.25), color=0.3),
        )
        return Recipe(**(settings | changes))

    return make


@pytest.fixture
def tiny_trainer(tiny_recipe, toy):
    """Function: a trainer of a method on toy data whose target labels raise when read."""
    from lightning.fabric import Fabric

    from da_toolkit.training.trainer import Trainer

    def make(method, steps=4, seed=0, forbid=True, **changes):
        recipe = tiny_recipe(method, steps, **changes)
        fabric = Fabric(accelerator="cpu", devices=1)
        return Trainer(recipe, fabric, toy(), toy(seed=1, shift=30, forbid_labels=forbid), seed=seed)

    return make
