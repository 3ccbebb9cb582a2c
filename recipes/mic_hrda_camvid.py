"""MIC on HRDA around the light network, CARLA -> CamVid."""

from da_toolkit.data import Augmentation, CamVid, Carla, RareClasses
from da_toolkit.methods import FeatureDistance, Masking, MeanTeacher, SourceOnly
from da_toolkit.models import HRDA, LightDeepLabV3Plus
from da_toolkit.recipe import AdamW, Evaluation, LearningRate, Recipe, Schedule, Stage

recipe = Recipe(
    source=Carla(size=(298, 480)),
    target=CamVid(size=(360, 480)),
    model=HRDA(network=LightDeepLabV3Plus(weights="packaged", batch_norm="frozen", aux=False), attention_width=64),
    # Images are half as large again as mic_camvid's, since the context has half of their resolution; so are blocks.
    # The teacher keeps DACS's momentum of 0.99: 0.999 remembers as long as this whole run.
    method=SourceOnly(
        regularizers=(MeanTeacher(start=0.5, masking=Masking(block=48)), FeatureDistance()), class_balance=0.5
    ),
    schedule=Schedule((Stage("train", steps=1_000),)),
    optimizer=AdamW(lr=2e-4, head_multiplier=10, weight_decay=0.01),
    learning_rate=LearningRate("poly", power=0.9, warmup=20),
    batch_size=2,
    source_augmentation=Augmentation(scale=(0.97, 2.1), flip=True, color=0.8, blur=0.4, crop=(288, 384)),
    target_augmentation=Augmentation(scale=(0.82, 1.8), flip=True, crop=(288, 384)),
    rare_classes=RareClasses(),
    evaluation=Evaluation(size=(360, 480)),
)
