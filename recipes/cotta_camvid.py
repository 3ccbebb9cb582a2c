"""CoTTA: a slow teacher's averaged labels, source weights that come back, CARLA -> CamVid, without a source."""

from da_toolkit.data import Augmentation, CamVid, Carla
from da_toolkit.methods import ContinualTeacher, SourceFree
from da_toolkit.models import LightDeepLabV3Plus
from da_toolkit.recipe import AdamW, Evaluation, LearningRate, Recipe, Schedule, Stage

recipe = Recipe(
    source=Carla(size=(298, 480)),  # never opened: it says which classes the start weights were taught
    target=CamVid(size=(360, 480)),
    # The whole network: run source_only_camvid before.
    model=LightDeepLabV3Plus(weights="runs/source_only_camvid/0", batch_norm="train", aux=False),
    method=SourceFree(regularizers=(ContinualTeacher(),)),
    schedule=Schedule((Stage("train", steps=300),)),
    optimizer=AdamW(lr=7.5e-6, head_multiplier=1, weight_decay=0.0),
    learning_rate=LearningRate("constant"),
    batch_size=2,
    target_augmentation=Augmentation(scale=(0.55, 1.2), flip=True, crop=(192, 256)),
    evaluation=Evaluation(size=(240, 320)),
)
