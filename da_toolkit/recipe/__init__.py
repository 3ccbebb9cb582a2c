"""What a recipe is made of besides data, models, methods and regularizers; and recipes found, loaded and shortened."""

from da_toolkit.catalogue import recipe_files
from da_toolkit.evaluation.inference import Evaluation, Inference
from da_toolkit.recipe.demo import demo_version
from da_toolkit.recipe.files import find_recipe, load_recipe
from da_toolkit.recipe.recipe import Recipe, Reported
from da_toolkit.settings.optim import SGD, AdamW, LearningRate, Optimizer
from da_toolkit.settings.schedule import Schedule, Stage, rounds

__all__ = [
    "SGD",
    "AdamW",
    "Evaluation",
    "Inference",
    "LearningRate",
    "Optimizer",
    "Recipe",
    "Reported",
    "Schedule",
    "Stage",
    "demo_version",
    "find_recipe",
    "load_recipe",
    "recipe_files",
    "rounds",
]
