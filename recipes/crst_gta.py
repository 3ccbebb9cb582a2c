"""Confidence-regularised self-training (MRKLD), GTA5 -> Cityscapes."""

from da_toolkit.data import GTA5, Cityscapes
from da_toolkit.methods import ClassBalanced, PseudoLabels, SourceOnly
from da_toolkit.models import DeepLabV2
from da_toolkit.recipe import SGD, LearningRate, Recipe, Reported, Schedule, Stage, rounds

recipe = Recipe(
    source=GTA5(size=(720, 1280)),
    target=Cityscapes(size=(512, 1024)),
    # CRST starts from DeepLab's Caffe ResNet-101, trained on ImageNet: a file to download, for
    # --model.weights.
    model=DeepLabV2(
        backbone="resnet101_caffe",
        weights="caffe_imagenet",
        output_stride=8,
        batch_norm="affine_frozen",
        aux=False,
        dilations=(6, 12, 18, 24),
    ),
    # The published 0.1 of the regulariser is multiplied with another 0.1: it acts as 0.01.
    # The schedule is ours: 60,000 steps on the source, then three rounds.
    method=SourceOnly(regularizers=(PseudoLabels(ClassBalanced(portion=0.2, growth=0.05), smoothing=0.01),)),
    schedule=Schedule((Stage("warm-up", steps=60_000), *rounds(3, steps=20_000))),
    optimizer=SGD(lr=2.5e-4, head_multiplier=10, momentum=0.9, weight_decay=5e-4, repeats="as_published"),
    learning_rate=LearningRate("poly", power=0.9, horizon=250_000),
    batch_size=1,
    reported=Reported(
        miou=49.8,
        paper="Zou et al., ICCV 2019",
        note="multi-scale testing; not reproduced here",
        network="DeepLab-v2, ResNet-101",
        start="ImageNet, then the source",
    ),
)
