"""AdaptSegNet on two levels, CARLA -> CamVid."""

from da_toolkit.data import CamVid, Carla
from da_toolkit.data.transforms import Augmentation
from da_toolkit.evaluation.inference import Evaluation
from da_toolkit.methods import Adversarial, OutputSpace
from da_toolkit.models.deeplab import LightDeepLabV3Plus
from da_toolkit.recipe import Recipe, Schedule, Stage
from da_toolkit.training.optim import AdamW, LearningRate

recipe = Recipe(
    source=Carla(size=(298, 480)),
    target=CamVid(size=(360, 480)),
    model=LightDeepLabV3Plus(weights="packaged", aux=True),
    method=Adversarial(discriminators=(OutputSpace(weight=1e-3), OutputSpace(weight=2e-4, level="aux"))),
    schedule=Schedule((Stage("train", steps=600),)),
    optimizer=AdamW(lr=1e-3, head_multiplier=3, weight_decay=0.01),
    learning_rate=LearningRate("poly", power=0.9, warmup=20),
    batch_size=4,
    source_augmentation=Augmentation(scale=(0.6, 1.6), flip=True, color=0.8, blur=0.4, crop=(192, 256)),
    target_augmentation=Augmentation(scale=(0.6, 1.6), flip=True, crop=(192, 256)),
    evaluation=Evaluation(size=(240, 320)),
)
