"""The published recipes' settings, figure by figure, as their papers' code acts."""

import pytest
import torch

from da_toolkit.data.style import swap_low_frequencies
from da_toolkit.recipe import SGD, find_recipe, load_recipe, recipe_files
from da_toolkit.registry import METHODS

DOMAINS = ("gta", "synthia")
REPEATED = ("adaptseg", "adaptseg_ls", "adaptseg_multi", "advent", "minent", "dacs", "fda", "crst", "crst_soft")
REPEATED += ("maxsquare", "proda", "adv_rpt", "adv_rpt_resnet101", "advent_rpt", "dacs_rpt")
REPEATED += ("source_only", "oracle", "rpt", "target_bn", "target_bn_rpt")  # AdaptSegNet's settings


def published(name):
    return load_recipe(find_recipe(name))


def test_repeated_updates_are_on_where_the_papers_repeat_them_and_nowhere_else():
    names = {name for name in recipe_files() if getattr(published(name).optimizer, "repeats", "once") != "once"}
    assert names == {f"{name}_{domain}" for name in REPEATED for domain in DOMAINS}
    for name in names:
        optimizer = published(name).optimizer
        assert isinstance(optimizer, SGD) and (optimizer.lr, optimizer.head_multiplier) == (2.5e-4, 10)


@pytest.mark.parametrize("domain", DOMAINS)
def test_fda(domain):
    recipe = published(f"fda_{domain}")
    assert recipe.learning_rate.horizon == 150_000 and recipe.schedule.steps == 100_000
    assert recipe.source.size[1] == 1280 and recipe.source_augmentation.crop == (512, 1024)
    transfer, entropy = recipe.method.regularizers
    assert entropy.resolution == "head" and (entropy.weight, entropy.eta) == (0.005, 2.0)
    # The band: b rows above and b below frequency 0.
    for size, rows in ((recipe.source_augmentation.crop, 5), (recipe.source.size, 7)):
        noise = torch.rand(2, 1, 1, *size, generator=torch.Generator().manual_seed(0))
        styled = swap_low_frequencies(noise[0], noise[1], transfer.beta)
        change = (torch.fft.fft2(styled).abs() - torch.fft.fft2(noise[0]).abs()).abs()[0, 0]
        assert int((change > 1).any(1).sum()) == 2 * rows + 1 == int((change > 1).any(0).sum())


@pytest.mark.parametrize("domain", DOMAINS)
def test_maxsquare(domain):
    model = published(f"maxsquare_{domain}").model
    assert model.dilations == (6, 12) and model.batch_norm == "train"
    start = published(f"source_only_{domain}")
    assert model.weights == f"runs/source_only_{domain}/0"
    assert (start.model.backbone, start.model.dilations) == (model.backbone, model.dilations)
    assert start.source.label_space.classes == published(f"maxsquare_{domain}").source.label_space.classes


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("name", ["daformer", "mic"])
def test_daformer_and_mic(name, domain):
    recipe = published(f"{name}_{domain}")
    assert recipe.method.average == "all"
    rate = recipe.learning_rate
    assert rate.multiplier(1_500, recipe.schedule.steps) == pytest.approx(0.9625, abs=1e-12)
    assert not recipe.optimizer.decay_norms and recipe.optimizer.weight_decay == 0.01
    rare, height_width = recipe.rare_classes, recipe.source_augmentation.crop
    assert rare.crop_share == pytest.approx(0.0057, abs=5e-5) and height_width == (512, 512)
    assert rare.least == pytest.approx({"gta": 0.0015, "synthia": 0.0031}[domain], abs=5e-5)
    teacher = recipe.method.regularizers[0]
    assert (teacher.weights, teacher.statistics, teacher.first_momentum) == ("batch", "batch", "half")


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("name", ["hrda", "mic_hrda"])
def test_hrda_is_daformer_and_mic_at_twice_the_resolution(name, domain):
    recipe = published(f"{name}_{domain}")
    plain = published(f"{'daformer' if name == 'hrda' else 'mic'}_{domain}")
    model = recipe.model
    assert model.network == plain.model and (model.detail, model.detail_weight, model.attention_width) == (
        0.5,
        0.1,
        256,
    )
    assert recipe.method == plain.method and recipe.optimizer == plain.optimizer
    assert recipe.learning_rate == plain.learning_rate and recipe.schedule == plain.schedule
    assert recipe.rare_classes == plain.rare_classes  # shares of an image and of a crop
    for domain_of in ("source", "target"):
        assert getattr(recipe, domain_of).size == tuple(2 * side for side in getattr(plain, domain_of).size)
        assert getattr(recipe, f"{domain_of}_augmentation").crop == (1024, 1024)
    assert (recipe.evaluation.window, recipe.evaluation.stride) == ((1024, 1024), (512, 512))
    masking = recipe.method.regularizers[0].masking
    assert (masking.weight, masking.block, masking.ratio) == (float(name == "mic_hrda"), 64, 0.7)
    figures = {"hrda_gta": 73.8, "hrda_synthia": 65.8, "mic_hrda_gta": 75.9, "mic_hrda_synthia": 67.3}
    assert (recipe.reported.miou, recipe.reported.note) == (figures[f"{name}_{domain}"], "not reproduced here")
    assert recipe.reported.protocol == recipe.source.label_space.name and plain.reported != recipe.reported


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("name", ["dacs", "dacs_rpt"])
def test_dacs(name, domain):
    teacher = published(f"{name}_{domain}").method.regularizers[0]
    assert (teacher.weights, teacher.statistics, teacher.first_momentum) == ("batch", "batch", "zero")
    assert (teacher.momentum, teacher.threshold) == (0.99, 0.968)


def test_registered_methods_are_the_recipes():
    """So that a method by its name trains what its published recipe trains."""
    for name in ("dacs", "daformer", "mic"):
        mine, its = METHODS[name].build(), published(f"{name}_gta").method
        assert mine.average == its.average
        for setting in ("momentum", "threshold", "weights", "statistics", "first_momentum"):
            assert getattr(mine.regularizers[0], setting) == getattr(its.regularizers[0], setting)
    for name in ("fda", "crst"):
        assert METHODS[name].build().regularizers == published(f"{name}_gta").method.regularizers


def test_small_recipes_stay_as_they_were():
    """Their settings are ours, chosen on CamVid."""
    for name in recipe_files():
        if name.endswith("_camvid"):
            recipe = published(name)
            assert recipe.method.average == "labelled" and recipe.learning_rate.counted_from == "warmup"
            for part in () if recipe.method.starts_trained else recipe.method.regularizers:
                assert getattr(part, "statistics", "running") == "running"
                assert getattr(part, "weights", "image") == "image"


def test_foundation_recipes():
    """What is known of VFM-UDA++'s training; images are of whole patches, so that none is resized twice."""
    for name, patch in (("dinov2_mic_gta", 14), ("dinov2_mic_synthia", 14), ("dinov3_mic_gta", 16)):
        recipe = published(name)
        assert recipe.model.output_stride == patch and f"_patch{patch}_dinov" in recipe.model.backbone
        sizes = (recipe.target.size, recipe.source_augmentation.crop, recipe.target_augmentation.crop)
        (teacher,) = recipe.method.regularizers  # no feature distance
        assert not any(side % patch for size in sizes for side in size) and teacher.masking.block % patch == 0
        optimizer = recipe.optimizer
        assert (optimizer.layer_decay, optimizer.weight_decay, teacher.momentum) == (0.9, 0.01, 0.999)
        assert (recipe.schedule.steps, recipe.learning_rate.warmup) == (40_000, 1_500)
    assert (published("dinov2_mic_gta").reported.miou, published("dinov2_mic_synthia").reported.miou) == (79.8, 69.7)
