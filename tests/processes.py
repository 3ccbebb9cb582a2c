"""A recipe of 40 steps for tests that run it as a process of its own, and how to wait for one."""

import time

RECIPE = """
from da_toolkit.data import Streets
from da_toolkit.methods import Adversarial
from da_toolkit.models.deeplab import LightDeepLabV3Plus
from da_toolkit.recipe import Recipe, Schedule, Stage
from da_toolkit.recipe import AdamW

recipe = Recipe(
    source=Streets(size=(64, 96), frames=4, val_frames=2, render_size=(64, 96)),
    target=Streets(size=(64, 96), look="camera", frames=4, val_frames=2, render_size=(64, 96)),
    model=LightDeepLabV3Plus("test_resnet", weights="none", width=8, aux=False, dropout=0.5),
    method=Adversarial(),
    schedule=Schedule((Stage("train", 40),)),
    optimizer=AdamW(lr=1e-3),
)
"""


def wait_for_steps(run, metrics, count=2):
    """Until `metrics` has more than `count` lines."""
    for _ in range(1200):
        if metrics.exists() and len(metrics.read_text().splitlines()) > count:
            return
        assert run.poll() is None, run.communicate()
        time.sleep(0.1)
    raise AssertionError("the run never reported a step")
