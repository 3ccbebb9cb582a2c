"""SHOT: information maximisation and centroid labels, CARLA -> CamVid, without a source."""

from da_toolkit.data import Augmentation, CamVid, Carla
from da_toolkit.methods import CentroidLabels, InformationMaximisation, SourceFree
from da_toolkit.models import LightDeepLabV3Plus
from da_toolkit.recipe import AdamW, Evaluation, LearningRate, Recipe, Schedule, rounds

recipe = Recipe(
    source=Carla(size=(298, 480)),  # never opened: it says which classes the start weights were taught
    target=CamVid(size=(360, 480)),
    # The whole network: run source_only_camvid before.
    model=LightDeepLabV3Plus(weights="runs/source_only_camvid/0", batch_norm="train", aux=False),
    method=SourceFree(trains="encoder", regularizers=(InformationMaximisation(), CentroidLabels())),
    schedule=Schedule(rounds(3, steps=100)),
    optimizer=AdamW(lr=2e-5, weight_decay=0.01),
    learning_rate=LearningRate("poly", power=0.9),
    batch_size=2,
    target_augmentation=Augmentation(scale=(0.55, 1.2), flip=True, crop=(192, 256)),
    evaluation=Evaluation(size=(240, 320)),
)
