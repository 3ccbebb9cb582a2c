"""Masked image consistency (MIC) on HRDA, SYNTHIA -> Cityscapes."""

from da_toolkit.data import Augmentation, Cityscapes, RareClasses, Synthia
from da_toolkit.methods import ClassMix, FeatureDistance, Masking, MeanTeacher, SourceOnly
from da_toolkit.models import HRDA, DAFormer
from da_toolkit.recipe import AdamW, Evaluation, LearningRate, Recipe, Reported, Schedule, Stage

recipe = Recipe(
    # Twice DAFormer's sizes: its 512 x 512 of 1280 pixels are the context, 1024 x 1024 of 2560 at half resolution.
    source=Synthia(size=(1520, 2560)),
    target=Cityscapes(size=(1024, 2048), labels="synthia16"),
    model=HRDA(network=DAFormer(backbone="mit_b5", weights="hub"), detail=512 / 1024, detail_weight=0.1),
    method=SourceOnly(
        regularizers=(
            MeanTeacher(
                momentum=0.999,
                threshold=0.968,
                ignore_top=30 / 1024,
                ignore_bottom=240 / 1024,
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
    source_augmentation=Augmentation(flip=True, crop=(1024, 1024)),
    target_augmentation=Augmentation(flip=True, crop=(1024, 1024)),
    rare_classes=RareClasses(temperature=0.01, least=3_000 / (760 * 1280), least_of_crop=6_000 / 1024**2),
    evaluation=Evaluation(window=(1024, 1024), stride=(512, 512), batch_size=1),
    reported=Reported(
        miou=67.3,
        paper="Hoyer et al., CVPR 2023",
        note="not reproduced here",
        protocol="synthia16",
        network="HRDA on DAFormer, MiT-B5",
        start="ImageNet",
    ),
)
