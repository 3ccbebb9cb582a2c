"""Pseudo-labels denoised by prototypes (ProDA, first stage), SYNTHIA -> Cityscapes."""

from da_toolkit.data import Cityscapes, Synthia
from da_toolkit.methods import Prototypes, SourceOnly
from da_toolkit.models import DeepLabV2
from da_toolkit.recipe import SGD, LearningRate, Recipe, Schedule, Stage, rounds

recipe = Recipe(
    source=Synthia(size=(760, 1280)),
    target=Cityscapes(size=(512, 1024), labels="synthia16"),
    # ProDA's warm-up starts from DeepLab's Caffe ResNet-101, trained on ImageNet: a file to download, for
    # --model.weights.
    model=DeepLabV2(
        backbone="resnet101_caffe",
        weights="caffe_imagenet",
        output_stride=8,
        batch_norm="affine_frozen",
        aux=False,
        dilations=(6, 12, 18, 24),
    ),
    # The schedule is ours: 60,000 steps on the source, then three rounds.
    method=SourceOnly(regularizers=(Prototypes(momentum=0.999, prototype_momentum=0.9999),)),
    schedule=Schedule((Stage("warm-up", steps=60_000), *rounds(3, steps=20_000))),
    optimizer=SGD(lr=2.5e-4, head_multiplier=10, momentum=0.9, weight_decay=5e-4, repeats="as_published"),
    learning_rate=LearningRate("poly", power=0.9, horizon=250_000),
    batch_size=1,
)
