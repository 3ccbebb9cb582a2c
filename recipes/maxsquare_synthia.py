"""Maximum squares loss with image-wise weights on two levels, SYNTHIA -> Cityscapes."""

from da_toolkit.data import Cityscapes, Synthia
from da_toolkit.methods import MaxSquares, SourceOnly
from da_toolkit.models import DeepLabV2
from da_toolkit.recipe import SGD, LearningRate, Recipe, Schedule, Stage

recipe = Recipe(
    source=Synthia(size=(760, 1280)),
    target=Cityscapes(size=(512, 1024), labels="synthia16"),
    model=DeepLabV2(
        backbone="resnet101_caffe",
        output_stride=8,
        batch_norm="train",
        aux=True,
        # MaxSquare starts from DeepLab's Caffe ResNet-101, trained on the source first: run source_only_synthia before.
        weights="runs/source_only_synthia/0",
        dilations=(6, 12),
    ),
    method=SourceOnly(regularizers=(MaxSquares(weight=0.1, aux_weight=0.02, alpha=0.2),)),
    schedule=Schedule((Stage("train", steps=90_000),)),
    optimizer=SGD(lr=2.5e-4, head_multiplier=10, momentum=0.9, weight_decay=5e-4, repeats="as_published"),
    learning_rate=LearningRate("poly", power=0.9, horizon=250_000),
    batch_size=1,
)
