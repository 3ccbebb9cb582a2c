"""Class-wise adversarial alignment of features (FADA), SYNTHIA -> Cityscapes."""

from da_toolkit.data import Cityscapes, Synthia
from da_toolkit.methods import Adversarial, ClassWise
from da_toolkit.models import DeepLabV2
from da_toolkit.recipe import SGD, LearningRate, Recipe, Schedule, Stage

recipe = Recipe(
    source=Synthia(size=(760, 1280)),
    target=Cityscapes(size=(512, 1024), labels="synthia16"),
    # FADA starts from torchvision's ResNet-101, which timm downloads.
    model=DeepLabV2(
        backbone="resnet101.tv_in1k",
        output_stride=8,
        batch_norm="affine_frozen",
        aux=False,
        dilations=(6, 12, 18, 24),
    ),
    # The first fifth trains on the source alone, as FADA starts from a source model.
    method=Adversarial(discriminators=(ClassWise(weight=1e-3, start=0.2),)),
    schedule=Schedule((Stage("train", steps=100_000),)),
    optimizer=SGD(lr=2.5e-4, head_multiplier=10, momentum=0.9, weight_decay=5e-4),
    learning_rate=LearningRate("poly", power=0.9, horizon=250_000),
    batch_size=1,
)
