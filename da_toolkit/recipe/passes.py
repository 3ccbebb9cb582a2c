"""Which images a run gives its network, by the recipe: sizes, batches, and the settings that decide them."""

from da_toolkit.evaluation.inference import Inference
from da_toolkit.models.trial import Pass
from da_toolkit.recipe.recipe import Recipe


def run_passes(recipe: Recipe) -> list[Pass]:
    """Those of training, and of the evaluation of the target."""
    reads = recipe.method.reads
    passes = []
    for name, read, domain, augmentation in (
        ("source", reads.source, recipe.source, recipe.source_augmentation),
        ("target", reads.target, recipe.target, recipe.target_augmentation),
    ):
        if read:
            setting = f"{name}_augmentation.crop" if augmentation.crop else f"{name}.size"
            passes.append(Pass(augmentation.crop or domain.size, recipe.batch_size, True, setting))
    passes += evaluation_passes(recipe.evaluation, recipe.target.size)
    if recipe.evaluation.validators:
        seen = "{} (of which evaluation.validators look at whole images)"
        if recipe.method.opens_source:
            passes.append(Pass(recipe.source.size, 1, False, seen.format("source.size")))
        passes.append(Pass(recipe.evaluation_size, 1, False, seen.format("evaluation.size")))
    return passes


def evaluation_passes(inference: Inference, size: tuple[int, int]) -> list[Pass]:
    """Those of an evaluation.

    Args:
        size: height and width of the network's input, unless `inference.size` names another.
    """
    setting = "evaluation.size" if inference.size else "target.size"
    setting = "evaluation.window" if inference.window else setting
    views = inference.view_sizes(inference.size or size)
    scaled = [f"{setting} at evaluation.scales {scale:g}" if scale != 1 else setting for scale in inference.scales]
    return [Pass(view, inference.batch_size, False, told) for view, told in zip(views, scaled, strict=True)]
