"""RPT scored with the target's batch-norm statistics (ABN + RPT), SYNTHIA -> Cityscapes. A reconstruction."""

from da_toolkit.data import Cityscapes, Synthia
from da_toolkit.methods import TargetBN
from da_toolkit.models import DeepLabV2
from da_toolkit.recipe import SGD, LearningRate, Recipe, Schedule, Stage, rounds
from da_toolkit.regularizers import RPT, Cluster

recipe = Recipe(
    source=Synthia(size=(760, 1280)),
    target=Cityscapes(size=(512, 1024), labels="synthia16"),
    # The start of AdaptSegNet, so that scores compare: DeepLab's Caffe ResNet-101, trained on ImageNet, a file to
    # download, for --model.weights.
    model=DeepLabV2(
        backbone="resnet101_caffe",
        weights="caffe_imagenet",
        output_stride=8,
        batch_norm="affine_frozen",
        aux=False,
        dilations=(6, 12),  # what AdaptSegNet's code acts with; AdvEnt sums 6, 12, 18, 24
    ),
    method=TargetBN(batches=200, regularizers=(RPT(cluster=Cluster(weight=1.0), balance=0.0),)),
    schedule=Schedule((Stage("warm-up", steps=45_000), *rounds(3, steps=15_000))),
    optimizer=SGD(lr=2.5e-4, head_multiplier=10, momentum=0.9, weight_decay=5e-4, repeats="as_published"),
    learning_rate=LearningRate("poly", power=0.9, horizon=250_000),
    batch_size=1,
)
