"""Instance-adaptive self-training after an adversarial warm-up, SYNTHIA -> Cityscapes."""

from da_toolkit.data import Cityscapes, Synthia
from da_toolkit.methods import Adversarial, InstanceAdaptive, OutputSpace, PseudoLabels
from da_toolkit.models import DeepLabV2
from da_toolkit.recipe import SGD, LearningRate, Recipe, Schedule, Stage, rounds

recipe = Recipe(
    source=Synthia(size=(760, 1280)),
    target=Cityscapes(size=(512, 1024), labels="synthia16"),
    # IAST starts from torchvision's ResNet-101, which timm downloads.
    model=DeepLabV2(
        backbone="resnet101.tv_in1k",
        output_stride=8,
        batch_norm="affine_frozen",
        aux=False,
        dilations=(6, 12, 18, 24),
    ),
    # The published 0.1 and 3 are divided by pixels and by 19 classes: these weights act as they do.
    # The schedule is ours: the adversary plays in the warm-up, half of the run; then three rounds.
    method=Adversarial(
        discriminators=(OutputSpace(weight=1e-3, end=0.5),),
        regularizers=(PseudoLabels(InstanceAdaptive(), smoothing=0.0053, entropy=0.438),),
    ),
    schedule=Schedule((Stage("warm-up", steps=60_000), *rounds(3, steps=20_000))),
    optimizer=SGD(lr=2.5e-4, head_multiplier=10, momentum=0.9, weight_decay=5e-4),
    learning_rate=LearningRate("poly", power=0.9, horizon=250_000),
    batch_size=1,
)
