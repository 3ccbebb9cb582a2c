"""Maximum squares loss with image-wise weights on two levels, GTA5 -> Cityscapes."""

from da_toolkit.data import GTA5, Cityscapes
from da_toolkit.methods import MaxSquares, SourceOnly
from da_toolkit.models import DeepLabV2
from da_toolkit.recipe import SGD, LearningRate, Recipe, Reported, Schedule, Stage

recipe = Recipe(
    source=GTA5(size=(720, 1280)),
    target=Cityscapes(size=(512, 1024)),
    model=DeepLabV2(
        backbone="resnet101_caffe",
        output_stride=8,
        batch_norm="train",
        aux=True,
        # MaxSquare starts from DeepLab's Caffe ResNet-101, trained on the source first: run source_only_gta before.
        weights="runs/source_only_gta/0",
        dilations=(6, 12),
    ),
    method=SourceOnly(regularizers=(MaxSquares(weight=0.1, aux_weight=0.02, alpha=0.2),)),
    schedule=Schedule((Stage("train", steps=120_000),)),
    optimizer=SGD(lr=2.5e-4, head_multiplier=10, momentum=0.9, weight_decay=5e-4, repeats="as_published"),
    learning_rate=LearningRate("poly", power=0.9, horizon=250_000),
    batch_size=1,
    reported=Reported(
        miou=46.4,
        paper="Chen et al., ICCV 2019",
        note="with multi-level self-guidance, which ours lacks; not reproduced here",
        network="DeepLab-v2, ResNet-101",
        start="ImageNet, then the source",
    ),
)
