"""Class-balanced self-training, GTA5 -> Cityscapes."""

from da_toolkit.data import GTA5, Cityscapes
from da_toolkit.methods import ClassBalanced, PseudoLabels, SourceOnly
from da_toolkit.models import DeepLabV2
from da_toolkit.recipe import SGD, LearningRate, Recipe, Reported, Schedule, Stage, rounds

recipe = Recipe(
    source=GTA5(size=(720, 1280)),
    target=Cityscapes(size=(512, 1024)),
    # CBST's was a ResNet-38; this is CRST's: DeepLab's Caffe ResNet-101, trained on ImageNet, a file to download, for
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
    method=SourceOnly(regularizers=(PseudoLabels(ClassBalanced(portion=0.2, growth=0.05)),)),
    schedule=Schedule((Stage("warm-up", steps=60_000), *rounds(3, steps=20_000))),
    optimizer=SGD(lr=2.5e-4, head_multiplier=10, momentum=0.9, weight_decay=5e-4),
    learning_rate=LearningRate("poly", power=0.9, horizon=250_000),
    batch_size=1,
    reported=Reported(
        miou=47.0,
        paper="Zou et al., ECCV 2018",
        note="another backbone (ResNet-38); not reproduced here",
        network="ResNet-38",
        start="ImageNet, then the source",
    ),
)
