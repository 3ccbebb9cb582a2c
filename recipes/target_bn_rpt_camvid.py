"""RPT scored with the target's batch-norm statistics (ABN + RPT), CARLA -> CamVid. A reconstruction."""

from da_toolkit.data import Augmentation, CamVid, Carla
from da_toolkit.methods import TargetBN
from da_toolkit.models import LightDeepLabV3Plus
from da_toolkit.recipe import AdamW, Evaluation, LearningRate, Recipe, Schedule, Stage, rounds
from da_toolkit.regularizers import RPT, Cluster, Superpixels

recipe = Recipe(
    source=Carla(size=(298, 480)),
    target=CamVid(size=(360, 480)),
    model=LightDeepLabV3Plus(weights="packaged", batch_norm="frozen", aux=False),
    method=TargetBN(
        class_balance=0.5,
        regularizers=(RPT(regions=Superpixels(count=250), cluster=Cluster(weight=1.0, clusters=256), balance=0.0),),
    ),
    schedule=Schedule((Stage("warm-up", steps=850), *rounds(3, steps=50))),
    optimizer=AdamW(lr=2e-4, head_multiplier=10, weight_decay=0.01),
    learning_rate=LearningRate("poly", power=0.9, warmup=20),
    batch_size=2,
    source_augmentation=Augmentation(scale=(0.65, 1.4), flip=True, color=0.8, blur=0.4, crop=(192, 256)),
    target_augmentation=Augmentation(scale=(0.55, 1.2), flip=True, crop=(192, 256)),
    evaluation=Evaluation(size=(240, 320)),
)
