"""AdaptSegNet on two levels, GTA5 -> Cityscapes."""

from da_toolkit.data import GTA5, Cityscapes
from da_toolkit.methods import Adversarial, OutputSpace
from da_toolkit.models import DeepLabV2
from da_toolkit.recipe import SGD, LearningRate, Recipe, Reported, Schedule, Stage

recipe = Recipe(
    source=GTA5(size=(720, 1280)),
    target=Cityscapes(size=(512, 1024)),
    # AdaptSegNet starts from DeepLab's Caffe ResNet-101, trained on ImageNet: a file to download, for
    # --model.weights.
    model=DeepLabV2(
        backbone="resnet101_caffe",
        weights="caffe_imagenet",
        output_stride=8,
        batch_norm="affine_frozen",
        aux=True,
        dilations=(6, 12),  # what AdaptSegNet's code acts with; AdvEnt sums 6, 12, 18, 24
    ),
    method=Adversarial(discriminators=(OutputSpace(weight=1e-3), OutputSpace(weight=2e-4, level="aux"))),
    schedule=Schedule((Stage("train", steps=150_000),)),
    optimizer=SGD(lr=2.5e-4, head_multiplier=10, momentum=0.9, weight_decay=5e-4, repeats="as_published"),
    learning_rate=LearningRate("poly", power=0.9, horizon=250_000),
    batch_size=1,
    reported=Reported(
        miou=42.4,
        paper="Tsai et al., CVPR 2018",
        note="not reproduced here",
        network="DeepLab-v2, ResNet-101",
        start="ImageNet",
    ),
)
