"""RPT beside a mean teacher with ClassMix. A reconstruction, GTA5 -> Cityscapes."""

from da_toolkit.data import GTA5, Augmentation, Cityscapes
from da_toolkit.methods import MeanTeacher, SourceOnly
from da_toolkit.models import DeepLabV2
from da_toolkit.recipe import SGD, LearningRate, Recipe, Schedule, Stage, rounds
from da_toolkit.regularizers import RPT, Cluster

recipe = Recipe(
    source=GTA5(size=(720, 1280)),
    target=Cityscapes(size=(512, 1024)),
    # The start of DACS, so that scores compare: DeepLab's Caffe ResNet-101, trained on ImageNet and COCO, a file to
    # download, for --model.weights.
    model=DeepLabV2(
        backbone="resnet101_caffe",
        weights="caffe_coco",
        output_stride=8,
        batch_norm="affine_frozen",
        aux=False,
        dilations=(6, 12),
    ),
    method=SourceOnly(
        regularizers=(
            MeanTeacher(momentum=0.99, threshold=0.968, weights="batch", statistics="batch", first_momentum="zero"),
            RPT(cluster=Cluster(weight=1.0), balance=0.0),
        )
    ),
    schedule=Schedule((Stage("warm-up", steps=100_000), *rounds(3, steps=50_000))),
    optimizer=SGD(lr=2.5e-4, head_multiplier=10, momentum=0.9, weight_decay=5e-4, repeats="as_published"),
    learning_rate=LearningRate("poly", power=0.9, horizon=250_000),
    batch_size=2,
    source_augmentation=Augmentation(crop=(512, 512)),
    target_augmentation=Augmentation(crop=(512, 512)),
)
