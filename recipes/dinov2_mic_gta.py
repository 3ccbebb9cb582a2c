"""Masked image consistency (MIC) on DINOv2's ViT-L, GTA5 -> Cityscapes."""

from da_toolkit.data import GTA5, Augmentation, Cityscapes, RareClasses
from da_toolkit.methods import ClassMix, Masking, MeanTeacher, SourceOnly
from da_toolkit.models import VisionTransformer
from da_toolkit.recipe import AdamW, LearningRate, Recipe, Reported, Schedule, Stage

recipe = Recipe(
    source=GTA5(size=(720, 1280)),
    # Multiples of the patch of 14, so that no image is resized twice.
    target=Cityscapes(size=(504, 1008)),
    model=VisionTransformer(
        backbone="vit_large_patch14_dinov2.lvd142m", output_stride=14, weights="timm", head="daformer"
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
                masking=Masking(weight=1.0, block=56, ratio=0.7),  # blocks of whole patches
            ),
        ),
        average="all",
    ),
    schedule=Schedule((Stage("train", steps=40_000),)),
    optimizer=AdamW(lr=1e-5, head_multiplier=10, weight_decay=0.01, decay_norms=False, layer_decay=0.9),
    learning_rate=LearningRate("poly", power=1.0, warmup=1_500, counted_from="start"),
    batch_size=2,
    source_augmentation=Augmentation(flip=True, crop=(504, 504)),
    target_augmentation=Augmentation(flip=True, crop=(504, 504)),
    rare_classes=RareClasses(temperature=0.01, least=3_000 / (1052 * 1914), least_of_crop=1_500 / 512**2),
    reported=Reported(
        miou=79.8,
        paper="Englert & Dubbelman (VFM-UDA++), 2025, arXiv 2503.10685",
        note="the authors' released run; with an ImageNet-trained ViT-Adapter and its pyramid, distance to a frozen "
        "DINOv2, masked tokens, stronger source augmentation, crops of 1024 and batches of 8, which ours lacks; not "
        "reproduced here",
        network="DINOv2 with ViT-Adapter",
        start="DINOv2",
    ),
)
