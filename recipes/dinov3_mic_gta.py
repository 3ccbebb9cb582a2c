"""Masked image consistency (MIC) on DINOv3's ViT-B with queries (EoMT), GTA5 -> Cityscapes."""

from da_toolkit.data import GTA5, Augmentation, Cityscapes, RareClasses
from da_toolkit.methods import ClassMix, Masking, MeanTeacher, SourceOnly
from da_toolkit.models import EoMT
from da_toolkit.recipe import AdamW, LearningRate, Recipe, Schedule, Stage

recipe = Recipe(
    source=GTA5(size=(720, 1280)),
    target=Cityscapes(size=(512, 1024)),
    # timm's copy of the weights is under DINOv3's licence, which is to be accepted first; the authors' own file will do
    # too, for --model.weights. With a smaller GPU: --model.adapt lora.
    model=EoMT(
        backbone="vit_base_patch16_dinov3.lvd1689m", output_stride=16, weights="timm", queries=100, joint_blocks=3
    ),
    # Without feature distance: VFM-UDA found it to harm foundation models.
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
        ),
        average="all",
    ),
    schedule=Schedule((Stage("train", steps=40_000),)),
    optimizer=AdamW(lr=1e-5, head_multiplier=10, weight_decay=0.01, decay_norms=False, layer_decay=0.9),
    learning_rate=LearningRate("poly", power=1.0, warmup=1_500, counted_from="start"),
    batch_size=2,
    source_augmentation=Augmentation(flip=True, crop=(512, 512)),
    target_augmentation=Augmentation(flip=True, crop=(512, 512)),
    rare_classes=RareClasses(temperature=0.01, least=3_000 / (1052 * 1914), least_of_crop=1_500 / 512**2),
)
