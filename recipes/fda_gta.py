"""Fourier domain adaptation, one band, GTA5 -> Cityscapes."""

from da_toolkit.data import GTA5, Augmentation, Cityscapes
from da_toolkit.methods import Entropy, FourierTransfer, SourceOnly
from da_toolkit.models import DeepLabV2
from da_toolkit.recipe import SGD, LearningRate, Recipe, Reported, Schedule, Stage

recipe = Recipe(
    source=GTA5(size=(720, 1280)),
    target=Cityscapes(size=(512, 1024)),
    # FDA starts from DeepLab's Caffe ResNet-101, trained on ImageNet: a file to download, for
    # --model.weights.
    model=DeepLabV2(
        backbone="resnet101_caffe",
        weights="caffe_imagenet",
        output_stride=8,
        batch_norm="affine_frozen",
        aux=False,
        dilations=(6, 12, 18, 24),
    ),
    method=SourceOnly(
        regularizers=(FourierTransfer(beta=0.01), Entropy(weight=0.005, aux_weight=0.0, eta=2.0, resolution="head"))
    ),
    schedule=Schedule((Stage("train", steps=100_000),)),
    optimizer=SGD(lr=2.5e-4, head_multiplier=10, momentum=0.9, weight_decay=5e-4, repeats="as_published"),
    learning_rate=LearningRate("poly", power=0.9, horizon=150_000),
    batch_size=1,
    # As published, and beta then reaches 5 rows of 512.
    source_augmentation=Augmentation(crop=(512, 1024)),
    reported=Reported(
        miou=50.45,
        paper="Yang & Soatto, CVPR 2020",
        note="three bands averaged and self-trained, ours is one band; not reproduced here",
        network="DeepLab-v2, ResNet-101",
        start="ImageNet",
    ),
)
