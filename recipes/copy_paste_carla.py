"""Source-only training on wider zooms, with things pasted elsewhere and rare classes first, CARLA -> Cityscapes."""

from da_toolkit.data import Augmentation, Carla, CityscapesSmall, RareClasses
from da_toolkit.methods import CopyPaste, SourceOnly
from da_toolkit.models import LightDeepLabV3Plus
from da_toolkit.recipe import AdamW, LearningRate, Recipe, Schedule, Stage

recipe = Recipe(
    source=Carla(size=(240, 480), labels="streets11"),
    target=CityscapesSmall(size=(128, 256)),
    model=LightDeepLabV3Plus(weights="packaged", batch_norm="frozen", aux=False),
    method=SourceOnly(class_balance=0.5, regularizers=(CopyPaste(),)),
    schedule=Schedule((Stage("train", steps=1_000),)),
    optimizer=AdamW(lr=2e-4, head_multiplier=10, weight_decay=0.01),
    learning_rate=LearningRate("poly", power=0.9, warmup=20),
    batch_size=4,
    source_augmentation=Augmentation(scale=(0.54, 1.4), flip=True, color=0.8, blur=0.4, crop=(128, 192)),
    target_augmentation=Augmentation(scale=(1.0, 1.8), flip=True, crop=(128, 192)),
    rare_classes=RareClasses(),
)
