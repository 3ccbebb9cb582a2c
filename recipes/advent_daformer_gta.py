"""AdvEnt's adversary, then DAFormer's teacher beside it, on sources of random class colours, GTA5 -> Cityscapes."""

from da_toolkit.data import GTA5, Augmentation, Cityscapes
from da_toolkit.methods import Adversarial, ClassColours, FeatureDistance, MeanTeacher, SelfInformation
from da_toolkit.models import DeepLabV2
from da_toolkit.recipe import SGD, LearningRate, Recipe, Schedule, Stage

recipe = Recipe(
    source=GTA5(size=(720, 1280)),
    target=Cityscapes(size=(512, 1024)),
    # The start of AdvEnt, so that scores compare: DeepLab's Caffe ResNet-101, trained on ImageNet, a file to
    # download, for --model.weights.
    model=DeepLabV2(
        backbone="resnet101_caffe",
        weights="caffe_imagenet",
        output_stride=8,
        batch_norm="affine_frozen",
        aux=False,
        dilations=(6, 12),
    ),
    method=Adversarial(
        discriminators=(SelfInformation(weight=1e-3, start=0.5),),
        regularizers=(
            ClassColours(),
            MeanTeacher(momentum=0.99, threshold=0.968, weights="batch", statistics="batch", start=0.6),
            FeatureDistance(),
        ),
    ),
    schedule=Schedule((Stage("train", steps=250_000),)),
    optimizer=SGD(lr=2.5e-4, head_multiplier=10, momentum=0.9, weight_decay=5e-4),
    learning_rate=LearningRate("poly", power=0.9, horizon=250_000),
    batch_size=2,
    source_augmentation=Augmentation(crop=(512, 512)),
    target_augmentation=Augmentation(crop=(512, 512)),
)
