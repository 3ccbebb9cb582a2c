"""RPT inside AdvEnt, which begins at 30 % of the run, in five rounds from half of it on, CARLA -> CamVid."""

from da_toolkit.data import Augmentation, CamVid, Carla
from da_toolkit.methods import Adversarial, SelfInformation
from da_toolkit.models import LightDeepLabV3Plus
from da_toolkit.recipe import AdamW, Evaluation, LearningRate, Recipe, Schedule, Stage, rounds
from da_toolkit.regularizers import RPT, Cluster, Superpixels

recipe = Recipe(
    source=Carla(size=(298, 480)),
    target=CamVid(size=(360, 480)),
    model=LightDeepLabV3Plus(weights="packaged", batch_norm="frozen", aux=False),
    # Adversarial weights and rates are 5 times the published ones, for a run that is 250 times shorter.
    method=Adversarial(
        discriminators=(SelfInformation(weight=5e-3, width=32, lr=5e-4, start=0.3),),
        regularizers=(RPT(regions=Superpixels(count=250), cluster=Cluster(weight=1.0, clusters=256), balance=0.0),),
        class_balance=0.5,
    ),
    schedule=Schedule((Stage("warm-up", steps=500), *rounds(5, steps=100))),
    optimizer=AdamW(lr=2e-4, head_multiplier=10, weight_decay=0.01),
    learning_rate=LearningRate("poly", power=0.9, warmup=20),
    batch_size=2,
    source_augmentation=Augmentation(scale=(0.65, 1.4), flip=True, color=0.8, blur=0.4, crop=(192, 256)),
    target_augmentation=Augmentation(scale=(0.55, 1.2), flip=True, crop=(192, 256)),
    evaluation=Evaluation(size=(240, 320)),
)
