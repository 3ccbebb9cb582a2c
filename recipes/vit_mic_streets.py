"""Masked image consistency (MIC) on a tiny vision transformer with queries (EoMT), on the street world: for CPUs."""

from da_toolkit.data import Augmentation, Streets
from da_toolkit.methods import Masking, MeanTeacher, SourceOnly
from da_toolkit.models import EoMT
from da_toolkit.recipe import AdamW, Evaluation, LearningRate, Recipe, Schedule, Stage

recipe = Recipe(
    source=Streets(size=(96, 192), look="game"),
    target=Streets(size=(96, 192), look="camera"),
    # From nothing: its weights of ImageNet would be a download. It shows that all parts work, not what they are worth.
    model=EoMT(backbone="test_vit", output_stride=16, weights="none", queries=40, joint_blocks=2),
    method=SourceOnly(regularizers=(MeanTeacher(start=0.5, masking=Masking(block=32)),), class_balance=0.5),
    schedule=Schedule((Stage("train", steps=600),)),
    optimizer=AdamW(lr=1e-3, head_multiplier=1, layer_decay=0.9),
    learning_rate=LearningRate("poly", power=0.9, warmup=20),
    batch_size=2,
    source_augmentation=Augmentation(flip=True, color=0.5),
    target_augmentation=Augmentation(flip=True),
    evaluation=Evaluation(),
)
