"""RPT scored with the target's batch-norm statistics (ABN + RPT), CARLA -> Cityscapes at 256x128. A reconstruction."""

from da_toolkit.data import Augmentation, Carla, CityscapesSmall
from da_toolkit.methods import TargetBN
from da_toolkit.models import LightDeepLabV3Plus
from da_toolkit.recipe import AdamW, LearningRate, Recipe, Schedule, Stage, rounds
from da_toolkit.regularizers import RPT, Cluster, Superpixels

recipe = Recipe(
    source=Carla(size=(128, 256), labels="streets11"),
    target=CityscapesSmall(size=(128, 256)),
    model=LightDeepLabV3Plus(weights="packaged", batch_norm="frozen", aux=False),
    method=TargetBN(
        class_balance=0.5,
        regularizers=(RPT(regions=Superpixels(count=250), cluster=Cluster(weight=1.0, clusters=256), balance=0.0),),
    ),
    schedule=Schedule((Stage("warm-up", steps=500), *rounds(2, steps=250))),
    optimizer=AdamW(lr=2e-4, head_multiplier=10, weight_decay=0.01),
    learning_rate=LearningRate("poly", power=0.9, warmup=20),
    batch_size=4,
    source_augmentation=Augmentation(scale=(1.0, 1.8), flip=True, color=0.8, blur=0.4, crop=(128, 192)),
    target_augmentation=Augmentation(scale=(1.0, 1.8), flip=True, crop=(128, 192)),
)
