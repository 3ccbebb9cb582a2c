"""Caffe's ResNet against the network written out; its files; its odd grid; a published recipe on it."""

import dataclasses
import math

import pytest
import torch
from torch.nn import functional as F

from da_toolkit.errors import UserError
from da_toolkit.models import DAFormer, DeepLabV2, LightDeepLabV3Plus, VisionTransformer
from da_toolkit.models.backbones import build_backbone
from da_toolkit.models.caffe_resnet import CAFFE, FILES
from da_toolkit.recipe import find_recipe, load_recipe, recipe_files

DEPTHS = {"resnet50_caffe": (3, 4, 6, 3), "resnet101_caffe": (3, 4, 23, 3)}
DILATIONS = {8: (1, 1, 2, 4), 16: (1, 1, 1, 2), 32: (1, 1, 1, 1)}


def seeded(depths, seed=0):
    """Random tensors of such a network under the names of DeepLab's release, with its head, by the shapes alone."""
    draw = torch.Generator().manual_seed(seed)
    state = {}

    def conv(name, outputs, inputs, kernel):
        shape = (outputs, inputs, kernel, kernel)
        state[f"{name}.weight"] = torch.randn(shape, generator=draw) / math.sqrt(inputs * kernel**2)

    def norm(name, width):
        state[f"{name}.weight"] = 0.5 + torch.rand(width, generator=draw)
        state[f"{name}.bias"] = 0.2 * torch.randn(width, generator=draw)
        state[f"{name}.running_mean"] = 0.2 * torch.randn(width, generator=draw)
        state[f"{name}.running_var"] = 0.5 + torch.rand(width, generator=draw)

    conv("conv1", 64, 3, 7)
    norm("bn1", 64)
    inputs = 64
    for stage, (blocks, width) in enumerate(zip(depths, (64, 128, 256, 512), strict=True), 1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            for number, (own, kernel) in enumerate(((width, 1), (width, 3), (4 * width, 1)), 1):
                conv(f"{name}.conv{number}", own, {1: inputs, 2: width, 3: width}[number], kernel)
                norm(f"{name}.bn{number}", own)
            if block == 0:
                conv(f"{name}.downsample.0", 4 * width, inputs, 1)
                norm(f"{name}.downsample.1", 4 * width)
            inputs = 4 * width
    for number in range(2):
        conv(f"layer5.conv2d_list.{number}", 21, 2048, 3)
    return state


def written_out(state, images, depths, stride=8):
    """The last two stages' maps of RGB images 0..1, operation by operation."""
    blue, green, red = 104.00698793, 116.66876762, 122.67891434
    x = torch.stack([255 * images[:, 2] - blue, 255 * images[:, 1] - green, 255 * images[:, 0] - red], 1)
    x = x.to(state["conv1.weight"].dtype)

    def normed(x, name):
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        scale = state[f"{name}.weight"] / (var + 1e-5).sqrt()
        return x * scale[:, None, None] + (state[f"{name}.bias"] - mean * scale)[:, None, None]

    x = normed(F.conv2d(x, state["conv1.weight"], stride=2, padding=3), "bn1").relu()
    # A window that rounding up adds begins in the image, so padding with the lowest value is all there is to it.
    x = F.pad(x, (1, 2, 1, 2), value=-torch.inf).unfold(2, 3, 2).unfold(3, 3, 2).amax((4, 5))
    maps = []
    for stage, dilation in enumerate(DILATIONS[stride], 1):
        for block in range(depths[stage - 1]):
            name = f"layer{stage}.{block}"
            step = 2 if block == 0 and stage > 1 and dilation == 1 else 1
            y = normed(F.conv2d(x, state[f"{name}.conv1.weight"], stride=step), f"{name}.bn1").relu()
            weight = state[f"{name}.conv2.weight"]
            y = normed(F.conv2d(y, weight, padding=dilation, dilation=dilation), f"{name}.bn2").relu()
            y = normed(F.conv2d(y, state[f"{name}.conv3.weight"]), f"{name}.bn3")
            if block == 0:
                x = normed(F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=step), f"{name}.downsample.1")
            x = (x + y).relu()
        maps.append(x)
    return maps[-2:]


def renamed(state, kind):
    """The tensors as a release has them."""
    own = {name: tensor for name, tensor in state.items() if not name.startswith("layer5")}
    if kind == "DeepLab":
        return {f"Scale.{name}": tensor for name, tensor in state.items()}
    if kind == "DeepLab without prefix":
        return state
    if kind == "trained on two levels":
        return {"state_dict": {f"module.{n}": t for n, t in state.items()} | {"module.layer6.bias": torch.ones(19)}}
    counted = {name.replace("running_var", "num_batches_tracked"): torch.tensor(3) for name in own if "_var" in name}
    return own | counted | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}


@pytest.mark.parametrize(
    ("name", "stride", "size", "kind"),
    [
        ("resnet101_caffe", 8, (64, 96), "DeepLab"),
        ("resnet50_caffe", 8, (61, 90), "DeepLab without prefix"),
        ("resnet50_caffe", 16, (64, 96), "torchvision"),
        ("resnet50_caffe", 32, (70, 97), "trained on two levels"),
    ],
)
def test_logits_equal_those_of_the_network_written_out(name, stride, size, kind, tmp_path):
    state = seeded(DEPTHS[name])
    torch.save(renamed(state, kind), tmp_path / "w.pth")
    torch.manual_seed(1)
    settings = DeepLabV2(name, stride, str(tmp_path / "w.pth"), aux=True, dilations=(6, 12))
    network = settings.build(5).double().eval()
    images = torch.rand(1, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        found = network(images)
        doubles = {key: tensor.double() for key, tensor in state.items()}
        third, last = written_out(doubles, images, DEPTHS[name], stride)
        logits = sum(
            F.conv2d(last, b.weight, b.bias, padding=r, dilation=r)
            for b, r in zip(network.head.layer.branches, (6, 12), strict=True)
        )
        aux = sum(
            F.conv2d(third, b.weight, b.bias, padding=r, dilation=r)
            for b, r in zip(network.aux.branches, (6, 12), strict=True)
        )
    expected = [-(-((side + 1) // 2 + 1) // 2) for side in size]  # the stem halves, the max-pool rounds up
    for _ in range(int(math.log2(stride)) - 2):
        expected = [(side + 1) // 2 for side in expected]
    assert list(found.logits.shape[2:]) == expected
    for ours, theirs in ((found.features, last), (found.logits, logits), (found.aux_logits, aux)):
        assert theirs.abs().max() > 0.01
        # Mean and deviation are buffers in single precision: 255 x - mean is right to about 1e-5.
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6 * theirs.abs().max().item())


def test_timms_network_with_the_same_weights_is_another_one(tmp_path):
    """So that the comparison above could fail."""
    state = {name: tensor for name, tensor in seeded(DEPTHS["resnet50_caffe"]).items() if "layer5" not in name}
    torch.save(state, tmp_path / "w.pth")
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    caffe, timms = (build_backbone(name, 8, str(tmp_path / "w.pth")).eval() for name in ("resnet50_caffe", "resnet50"))
    with torch.inference_mode():
        assert timms(images)[-1].shape[2:] == (8, 12) and caffe(images)[-1].shape[2:] == (9, 13)


@pytest.mark.parametrize("name", CAFFE)
def test_the_grid_is_odd_and_its_corners_are_aligned(name):
    with torch.device("meta"):
        network = DeepLabV2(name, weights="none").build(19)
        output = network(torch.rand(1, 3, 512, 1024))
    assert output.logits.shape == (1, 19, 65, 129) and output.align_corners is True
    assert not DeepLabV2("test_resnet", 8, "none").build(3)(torch.rand(1, 3, 64, 96)).align_corners


def test_a_position_sees_the_pixel_that_aligned_corners_give_it():
    """Grid and interpolation together: the middle of each position's field of view is where interpolation puts it."""
    network = build_backbone("resnet50_caffe", 8, "none").eval()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):  # sums alone, so that gradients are fields of view
            torch.nn.init.ones_(module.weight)
            torch.nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    images = torch.ones(1, 3, 1032, 16, requires_grad=True)
    column = network(images)[0].mean((1, 3))[0]  # of the stem, whose field is smallest
    assert len(column) == 516
    pyramid = network(images)[1].mean((1, 3))[0]
    assert len(pyramid) == 259
    for position in (100, 129, 180):
        (gradient,) = torch.autograd.grad(pyramid[position], images, retain_graph=True)
        seen = gradient.sum((0, 1, 3)).abs()
        middle = (seen * torch.arange(1032)).sum() / seen.sum()
        assert middle.item() == pytest.approx(4 * position, abs=2.1)
        assert middle.item() == pytest.approx(position * 1031 / 258, abs=2.1)


def test_heads_of_several_levels_lay_them_on_each_other_in_the_same_way():
    for settings in (
        LightDeepLabV3Plus("resnet50_caffe", weights="none", width=8),
        DAFormer("resnet50_caffe", weights="none", width=8),
    ):
        network = settings.build(3).eval()
        assert network.align_corners and network.head.align_corners
        assert network(torch.rand(1, 3, 64, 96)).align_corners


def test_what_is_no_part_of_it_is_told(tmp_path, tiny_trainer, capsys):
    from da_toolkit.methods import SourceOnly

    torch.save(renamed(seeded(DEPTHS["resnet50_caffe"]), "DeepLab"), tmp_path / "w.pth")
    tiny_trainer(SourceOnly(), model=DeepLabV2("resnet50_caffe", weights=str(tmp_path / "w.pth")))
    told = capsys.readouterr().out
    assert "265 tensors of backbone resnet50_caffe" in told
    assert "left out: 2 tensors (Scale.layer5.conv2d_list.0.weight" in told


@pytest.mark.parametrize("word", [*FILES, "timm", "hub", "packaged"])
def test_weights_that_nothing_downloads_are_asked_for(word):
    with pytest.raises(UserError, match="a file that nothing downloads") as asked:
        build_backbone("resnet101_caffe", 8, word)
    told = str(asked.value)
    assert "--model.weights FILE.pth" in told and "--model.backbone resnet101.tv_in1k --model.weights timm" in told
    assert ("ImageNet and COCO" in told) == (word == "caffe_coco") and "\n" not in told


@pytest.mark.parametrize("word", FILES)
def test_words_for_its_weights_are_refused_for_other_backbones(word):
    told = f"'{word}' are those of resnet50_caffe and resnet101_caffe"
    for build in (
        DeepLabV2("resnet101.tv_in1k", weights=word),
        LightDeepLabV3Plus("test_resnet", weights=word),
        DAFormer("test_resnet", weights=word),
        VisionTransformer("test_vit", 16, word),
    ):
        with pytest.raises(UserError, match=told):
            build.build(3)
    with pytest.raises(UserError, match=r"model\.weights of mit_b0 is 'hub', 'none', or the path"):
        DAFormer("mit_b0", weights=word).build(3)


def test_files_of_another_network_and_near_names_are_refused(tmp_path):
    torch.save(renamed(seeded(DEPTHS["resnet50_caffe"]), "DeepLab"), tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"begin with 'Scale\.'.*does not fit backbone 'resnet101_caffe'.*missing"):
        build_backbone("resnet101_caffe", 8, str(tmp_path / "w.pth"))
    with pytest.raises(UserError, match="Did you mean 'resnet101_caffe'"):
        build_backbone("resnet101_cafe", 8, "none")
    with pytest.raises(UserError, match="nowhere"):
        build_backbone("resnet101_caffe", 8, "nowhere.pth")


PUBLISHED = [name for name in recipe_files() if name.endswith(("_gta", "_synthia"))]


def test_every_published_recipe_names_its_start_and_pins_it():
    import timm

    caffe = 0
    for name in PUBLISHED:
        model = load_recipe(find_recipe(name)).model
        if name.startswith(("maxsquare", "tent", "source_free_shot", "cotta")):
            start = f"runs/source_only_{name.rpartition('_')[2]}/0"
            assert (model.backbone, model.weights) == ("resnet101_caffe", start)
        elif model.backbone in CAFFE:
            caffe += 1
            assert model.weights == ("caffe_coco" if name.startswith("dacs") else "caffe_imagenet"), name
            told = recipe_files()[name].read_text()
            trained = "trained on ImageNet and COCO" if name.startswith("dacs") else "trained on ImageNet"
            assert trained in told and "--model.weights" in told and "http" not in told, name
        elif not model.backbone.startswith("mit_"):
            assert model.backbone in timm.list_pretrained(), f"{name}: a bare name means whatever timm likes best today"
    assert caffe == 44


def test_a_published_recipe_trains_on_it(tmp_path, tiny_recipe, capsys, monkeypatch):
    """AdaptSegNet on two levels, with a network of two blocks a stage."""
    from da_toolkit.methods import SourceOnly
    from da_toolkit.runs.folder import load_network
    from da_toolkit.runs.runtime import Runtime
    from da_toolkit.runs.session import Session

    monkeypatch.setitem(CAFFE, "resnet26_caffe", "resnet26")
    state = seeded((2, 2, 2, 2))
    torch.save(renamed(state, "DeepLab"), tmp_path / "w.pth")
    published, tiny = load_recipe(find_recipe("adaptseg_multi_gta")), tiny_recipe(SourceOnly())
    recipe = dataclasses.replace(
        published,
        source=tiny.source,
        target=tiny.target,
        model=dataclasses.replace(published.model, backbone="resnet26_caffe", weights=str(tmp_path / "w.pth")),
        schedule=published.schedule.scaled(2),
        evaluation=dataclasses.replace(published.evaluation, validators=0),
    )
    session = Session("published", recipe, Runtime(runs=tmp_path, workers=0, tracking="none"))
    result = session.run()
    assert result["steps"] == 2 and 0 <= result["scores"]["cityscapes19"]["miou"] <= 100
    assert "left out: 2 tensors (Scale.layer5" in capsys.readouterr().out
    trained = load_network(session.folder, recipe)
    assert trained.align_corners
    moved = trained.state_dict()["backbone.layer1.0.conv1.weight"] - state["layer1.0.conv1.weight"]
    assert 0 < moved.abs().max() < 0.05  # from the file's weights on
