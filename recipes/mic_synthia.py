"""Masked image consistency (MIC) on DAFormer, SYNTHIA -> Cityscapes."""

from da_toolkit.data import Augmentation, Cityscapes, RareClasses, Synthia
from da_toolkit.methods import ClassMix, FeatureDistance, Masking, MeanTeacher, SourceOnly
from da_toolkit.models import DAFormer
from da_toolkit.recipe import AdamW, LearningRate, Recipe, Schedule, Stage

recipe = Recipe(
    source=Synthia(size=(760, 1280)),
    target=Cityscapes(size=(512, 1024), labels="synthia16"),
    model=DAFormer(backbone="mit_b5", weights="hub"),
    method=SourceOnly(
        regularizers=(
            MeanTeacher(
                momentum=0.999,
                threshold=0.968,
                ignore_top=15 / 512,
                ignore_bottom=120 / 512,
                weights="batch",
                statistics="batch",
                mix=ClassMix(jitter=0.2),
                masking=Masking(weight=1.0, block=64, ratio=0.7),
            ),
            FeatureDistance(weight=0.005),
        ),
        average="all",
    ),
    schedule=Schedule((Stage("train", steps=40_000),)),
    optimizer=AdamW(lr=6e-5, head_multiplier=10, weight_decay=0.01, decay_norms=False),
    learning_rate=LearningRate("poly", power=1.0, warmup=1_500, counted_from="start"),
    batch_size=2,
    source_augmentation=Augmentation(flip=True, crop=(512, 512)),
    target_augmentation=Augmentation(flip=True, crop=(512, 512)),
    rare_classes=RareClasses(temperature=0.01, least=3_000 / (760 * 1280), least_of_crop=1_500 / 512**2),
)
