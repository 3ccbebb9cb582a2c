"""HRDA: fusion and windows against plain loops, where crops lie, what learns from them, and what it refuses."""

import dataclasses
import json
from types import SimpleNamespace

import pytest
import torch
from ranks import two_ranks
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from da_toolkit.data.batch import Batch
from da_toolkit.errors import UserError
from da_toolkit.methods import CentroidLabels, FeatureDistance, Masking, MeanTeacher, PseudoLabels, SourceOnly
from da_toolkit.methods.feature_distance import feature_distance
from da_toolkit.models import HRDA, DAFormer, DeepLabV2, LightDeepLabV3Plus, VisionTransformer
from da_toolkit.models.grid import summarized
from da_toolkit.models.hrda import HRDASegmenter, fused, halved, random_corners
from da_toolkit.models.pyramid import PyramidSegmenter
from da_toolkit.models.teacher import Teacher
from da_toolkit.models.trial import Pass, check_passes
from da_toolkit.recipe import Recipe
from da_toolkit.recipe.recipe import classes_of
from da_toolkit.terms.step import View
from da_toolkit.training.state import load_state, state_of

INNER = LightDeepLabV3Plus("test_resnet", weights="none", width=8, dropout=0.5)
SMALL = HRDA(network=INNER, attention_width=8)
CELL = 8


@pytest.fixture
def network():
    torch.manual_seed(0)
    return SMALL.build(5)


def sampled(line, place):
    """A line of positions at a place between them, the first and last going on beyond themselves."""
    place = min(max(place, 0.0), len(line) - 1.0)
    low = min(int(place), len(line) - 1)
    high = min(low + 1, len(line) - 1)
    return line[low] + (place - low) * (line[high] - line[low])


def twice_as_large(plane):
    """[2h,2w] of [h,w]: each pixel between the positions around it, whose cells are two pixels wide."""
    rows = [[sampled(row, (x + 0.5) / 2 - 0.5) for x in range(2 * len(row))] for row in plane.tolist()]
    columns = list(zip(*rows, strict=True))
    return torch.tensor([[sampled(c, (y + 0.5) / 2 - 0.5) for c in columns] for y in range(2 * len(rows))])


def fused_by_loops(context, attention, detail):
    found = torch.zeros_like(detail)
    for image in range(len(detail)):
        for channel in range(detail.shape[1]):
            a, y = attention[image, channel], context[image, channel]
            found[image, channel] = twice_as_large((1 - a) * y) + twice_as_large(a) * detail[image, channel]
    return found


def test_fusion_equals_the_formula_written_out_pixel_by_pixel():
    torch.manual_seed(0)
    context, attention, detail = torch.randn(2, 3, 4, 5), torch.rand(2, 3, 4, 5), torch.randn(2, 3, 8, 10)
    torch.testing.assert_close(fused(context, attention, detail), fused_by_loops(context, attention, detail))


def test_a_training_pass_is_the_fusion_of_a_context_and_a_crop_of_each_image(network):
    network.eval()  # every part: no dropout, batch norms by what they keep
    network.training = True  # the network itself crops
    images = torch.rand(2, 3, 48, 80)
    with torch.no_grad():
        output = network(images)
        pyramid = network.pyramid(F.avg_pool2d(images, 2))
        context, attention = network.head(pyramid), network.attention(pyramid, (6, 10)).sigmoid()
        inside, placed = torch.zeros(2, 1, 6, 10), torch.zeros(2, 5, 12, 20)
        for image, (top, left) in enumerate(output.detail.corners):
            crop = images[image : image + 1, :, top : top + 24, left : left + 40]
            logits = network.head(network.pyramid(crop))
            torch.testing.assert_close(output.detail.logits[image], logits[0], rtol=1e-4, atol=1e-5)
            for row in range(6):
                for column in range(10):
                    placed[image, :, top // 4 + row, left // 4 + column] = logits[0, :, row, column]
            inside[image, 0, top // 8 : top // 8 + 3, left // 8 : left // 8 + 5] = 1
    assert output.detail.size == (24, 40) and output.detail.weight == 0.1 and output.logits.shape == (2, 5, 12, 20)
    expected = fused_by_loops(context, inside * attention, placed)
    torch.testing.assert_close(output.logits, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(output.features, pyramid[-1])


class Shrunk(nn.Module):
    """A backbone whose one level is the image itself, the mean of each 4 x 4 pixels."""

    feature_info = SimpleNamespace(channels=lambda: [3])

    def forward(self, images):
        return [F.avg_pool2d(images, 4)]


class Always(nn.Module):
    """An attention that looks at details wherever there are some."""

    def forward(self, pyramid, size):
        return torch.full((len(pyramid[0]), 3, *size), 100.0)


def test_crop_labels_and_logits_lie_on_the_same_pixels():
    inner = PyramidSegmenter(Shrunk(), nn.Sequential(_First()), 3)
    network = HRDASegmenter(inner, Always(), stride=4, detail=0.5, detail_weight=0.1).train()
    torch.manual_seed(3)
    images = torch.rand(3, 3, 64, 96)
    output = network(images)
    looked_at = F.avg_pool2d((images - network.mean) / network.std, 4)
    for image, (top, left) in enumerate(output.detail.corners):
        assert top % CELL == 0 and left % CELL == 0
        # Within the crop, but for the border over which attention fades, the details are all that is seen.
        within = (slice(top // 4 + 1, top // 4 + 7), slice(left // 4 + 1, left // 4 + 11))
        torch.testing.assert_close(output.logits[image][:, *within], looked_at[image][:, *within])
    cut = torch.stack([output.detail.cut((images - network.mean)[:, c]) for c in range(3)], 1) / network.std
    torch.testing.assert_close(output.detail.logits, F.avg_pool2d(cut, 4))


class _First(nn.Module):
    def forward(self, pyramid):
        return pyramid[0]


@pytest.mark.parametrize("detail", [0.5, 0.3, 1.0])
def test_sliding_equals_a_plain_loop_over_windows(detail):
    torch.manual_seed(0)
    network = dataclasses.replace(SMALL, detail=detail).build(5).eval()
    images = torch.rand(2, 3, 56, 80)
    rows, columns = {0.5: (4, 5), 0.3: (2, 3), 1.0: (7, 10)}[detail]  # of 7 and 10 cells; Python rounds 3.5 to 4
    total, counts = torch.zeros(2, 5, 14, 20), torch.zeros(14, 20)
    with torch.no_grad():
        top = 0
        while True:
            top = min(top, 7 - rows)
            left = 0
            while True:
                left = min(left, 10 - columns)
                crop = images[:, :, 8 * top : 8 * (top + rows), 8 * left : 8 * (left + columns)]
                total[:, :, 2 * top : 2 * (top + rows), 2 * left : 2 * (left + columns)] += network.head(
                    network.pyramid(crop)
                )
                counts[2 * top : 2 * (top + rows), 2 * left : 2 * (left + columns)] += 1
                if left == 10 - columns:
                    break
                left += columns // 2
            if top == 7 - rows:
                break
            top += rows // 2
        pyramid = network.pyramid(F.avg_pool2d(images, 2))
        attention = network.attention(pyramid, (7, 10)).sigmoid()
        expected = fused_by_loops(network.head(pyramid), attention, total / counts)
        output = network(images)
    assert counts.min() >= 1 and output.detail is None
    torch.testing.assert_close(output.logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(61, 77), (33, 50), (8, 8)])
def test_evaluation_takes_any_size_and_stretches_it_to_whole_cells(network, size):
    network.eval()
    images = torch.rand(1, 3, *size)
    height, width = (-(-side // CELL) * CELL for side in size)
    stretched = F.interpolate(images, size=(height, width), mode="bilinear")
    with torch.no_grad():
        assert network(images).logits.shape == (1, 5, height // 4, width // 4)
        assert torch.equal(network(images).logits, network(stretched).logits)


def test_training_sizes_that_are_no_whole_cells_are_refused_with_the_setting_and_one_that_works(network):
    with pytest.raises(UserError) as refused:
        check_passes(network, [Pass((60, 100), 2, True, "source_augmentation.crop")])
    told = str(refused.value)
    assert "source_augmentation.crop" in told and "multiples of 8" in told and "It can take 64x104" in told
    check_passes(network, [Pass((64, 104), 2, True, "source_augmentation.crop"), Pass((61, 77), 1, False, "x")])


def test_corners_are_drawn_evenly_from_the_random_state_alone():
    torch.manual_seed(5)
    first = random_corners(4000, 3, 1)
    torch.manual_seed(5)
    assert random_corners(4000, 3, 1) == first
    for place in range(4):
        assert sum(top == place for top, _ in first) / 4000 == pytest.approx(1 / 4, abs=0.03)
    assert {left for _, left in first} == {0, 1} and set(random_corners(50, 0, 0)) == {(0, 0)}


def test_ranks_draw_what_one_process_draws_for_their_images(tmp_path):
    def drawn(fabric, count=3):
        torch.manual_seed(7)
        return torch.tensor(random_corners(count, 100, 200))

    ranks = two_ranks(drawn, tmp_path)
    whole = drawn(None, 6)
    assert torch.equal(ranks[0], whole[0::2]) and torch.equal(ranks[1], whole[1::2])


def test_gradients_of_the_fused_loss_reach_attention_context_and_detail(network):
    network.train()
    output = network(torch.rand(2, 3, 64, 96))
    output.detail.logits.retain_grad()
    output.logits.square().mean().backward()
    for part in (network.head, network.backbone):
        assert any(parameter.grad is not None and parameter.grad.any() for parameter in part.parameters())
    assert all(parameter.grad.any() for parameter in network.attention.embed.parameters())
    assert output.detail.logits.grad.any()


def test_losses_of_labels_are_shared_between_whole_image_and_crop(network):
    network.train()
    batch = Batch(torch.rand(2, 3, 48, 64), torch.randint(0, 5, (2, 48, 64)), torch.tensor([0, 1]))
    weights = torch.rand(2, 48, 64)
    view = View(network, batch)

    def loss(logits, label, weights):
        return (F.cross_entropy(logits, label, reduction="none") * weights).mean()

    found, detail = view.supervised(loss, batch.label, weights), view.output.detail
    close, (height, width) = 0.0, (24, 32)
    for image, (top, left) in enumerate(detail.corners):
        crop = (slice(top, top + height), slice(left, left + width))
        logits = F.interpolate(detail.logits[[image]], size=(height, width), mode="bilinear")
        close = close + loss(logits, batch.label[[image]][:, *crop], weights[[image]][:, *crop]) / 2
    whole = loss(F.interpolate(view.output.logits, size=(48, 64), mode="bilinear"), batch.label, weights)
    torch.testing.assert_close(found, 0.9 * whole + 0.1 * close)
    found.backward()
    assert all(parameter.grad.any() for parameter in network.attention.classify.parameters())


def test_labels_at_the_head_are_shared_so_too(network):
    network.train()
    batch = Batch(torch.rand(2, 3, 48, 64), torch.randint(0, 5, (2, 48, 64)), torch.tensor([0, 1]))
    view = View(network, batch, at_head=True)
    found, detail = view.supervised(F.cross_entropy, batch.label), view.output.detail
    crops = torch.stack(
        [
            label[top : top + 24, left : left + 32]
            for label, (top, left) in zip(batch.label, detail.corners, strict=True)
        ]
    )
    near = F.cross_entropy(detail.logits, summarized(crops, detail.logits.shape[2:], False, 5))
    whole = view.output.logits
    far = F.cross_entropy(whole, summarized(batch.label, whole.shape[2:], False, 5))
    torch.testing.assert_close(found, 0.9 * far + 0.1 * near)


@pytest.mark.parametrize("lost", ["detail", "whole"])
def test_source_mixed_and_masked_losses_pseudo_and_centroid_labels_learn_from_the_crop(tiny_trainer, lost):
    """With all weight on the crops, attention is not trained; with none, every term trains it."""
    teacher = MeanTeacher(masking=Masking(block=16), threshold=0.0)
    method = SourceOnly(regularizers=(teacher, PseudoLabels(), CentroidLabels()))
    model = dataclasses.replace(SMALL, detail_weight=1.0 if lost == "whole" else 0.0)
    trainer = tiny_trainer(method, steps=3, rounds=True, model=model)
    seen = {}

    def watched(step):
        if step == 1:
            return
        losses = [term.losses(_step(trainer)) for term in trainer.terms]
        for name, loss in {name: loss for found in losses for name, loss in found.items()}.items():
            trained = list(trainer.model.attention.parameters())
            grads = torch.autograd.grad(loss, trained, retain_graph=True, allow_unused=True)
            seen[name] = any(grad is not None and bool(grad.any()) for grad in grads)

    trainer.fit(lambda *_: None, after_step=watched)
    assert seen.keys() == {"seg", "mix", "masked", "pseudo", "shot_pseudo"}
    assert set(seen.values()) == {lost == "detail"}


def _step(trainer):
    from da_toolkit.terms.step import Step

    trainer.model.train()
    source, target = trainer.images.next()
    return Step(trainer.network, source, target, trainer.done, trainer.recipe.schedule.steps)


@pytest.mark.parametrize("statistics", ["running", "batch"])
def test_a_teacher_labels_by_sliding_and_draws_nothing(network, statistics):
    network.train()
    network(torch.rand(2, 3, 64, 64))  # statistics other than their start
    teacher = Teacher(network, statistics)
    images = torch.rand(2, 3, 64, 96)
    before = torch.get_rng_state()
    found = teacher.probabilities(images)
    assert torch.equal(before, torch.get_rng_state()) and found.shape == (2, 5, 64, 96)
    network.eval()
    if statistics == "batch":
        for module in network.modules():
            module.training = isinstance(module, nn.BatchNorm2d)
    with torch.no_grad():
        output = network(images)
    assert output.detail is None
    torch.testing.assert_close(found, output.enlarged(output.logits, (64, 96)).softmax(1))


def test_a_teacher_follows_attention_too(network):
    teacher = Teacher(network)
    with torch.no_grad():
        network.attention.classify[1].weight.add_(1)
    teacher.follow(network, 0.99)
    moved = teacher.network.attention.classify[1].weight - network.attention.classify[1].weight
    torch.testing.assert_close(moved, torch.full_like(moved, -0.5))


def test_a_resumed_run_crops_where_the_whole_one_did(tiny_trainer):
    method = SourceOnly(regularizers=(MeanTeacher(masking=Masking(block=16), statistics="batch"), FeatureDistance()))

    def make():
        return tiny_trainer(method, steps=4, model=SMALL)

    whole, kept = make(), {}
    whole.fit(lambda *_: None)
    first = make()

    def keep(step):
        if step == 2:
            kept.update(state_of(first))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.fit(lambda *_: None, after_step=keep)
    second = make()
    load_state(second, kept)
    second.fit(lambda *_: None)
    for expected, found in zip(whole.model.state_dict().values(), second.model.state_dict().values(), strict=True):
        assert torch.equal(expected, found)


def test_mic_on_hrda_learns(tiny_trainer):
    method = SourceOnly(regularizers=(MeanTeacher(masking=Masking(block=16), statistics="batch"), FeatureDistance()))
    model = HRDA(network=DeepLabV2("test_resnet", 16, "none", dilations=(1, 2)), attention_width=8)
    trainer = tiny_trainer(method, steps=15, model=model)
    reports = []
    trainer.fit(lambda step, losses, rate: reports.append(losses), log_every=5)
    assert reports[-1]["seg"] < 0.7 * reports[0]["seg"] and "masked" in reports[-1]
    assert all(torch.isfinite(torch.tensor(list(losses.values()))).all() for losses in reports)


def test_features_and_those_of_the_frozen_backbone_are_of_the_context():
    torch.manual_seed(0)
    network = SMALL.build(5).eval()
    torch.manual_seed(0)
    frozen = SMALL.pretrained()
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        wanted, features = frozen(images)[-1], network(images).features
    everywhere = torch.ones(wanted.shape[0], *wanted.shape[2:], dtype=torch.bool)
    assert feature_distance(features, wanted, everywhere) < 1e-5
    assert wanted.shape[2:] == (2, 3)  # stride 16 of half the image
    torch.testing.assert_close(halved(images), F.avg_pool2d(images, 2))


@pytest.mark.parametrize("before", ["the inner network's run", "a run of HRDA"])
def test_it_starts_from_a_run_with_its_attention_where_that_has_one(before, tiny_recipe, tmp_path, capsys):
    model = INNER if before == "the inner network's run" else SMALL
    folder = tmp_path / "0"
    folder.mkdir()
    recipe = tiny_recipe(SourceOnly(), model=model)
    (folder / "recipe.json").write_text(json.dumps(recipe.to_json()))
    trained = model.build(19).state_dict()
    save_file(trained, folder / "model.safetensors")
    settings, classes = SMALL.with_weights(str(folder)), recipe.source.label_space.classes
    started = settings.build(19)
    settings.warm_start(started, classes, classes_of)
    for name, tensor in started.state_dict().items():
        if name in trained:
            assert torch.equal(tensor, trained[name]), name
    told = capsys.readouterr().out
    assert ("the attention starts anew, for its attention is not there" in told) == (model is INNER)


def test_heads_and_attention_learn_faster_than_the_backbone(network):
    backbone, heads = network.parameter_groups(1e-3, 10)
    own = [*network.head.parameters(), *network.attention.parameters()]
    assert {id(p) for p in heads["params"]} == {id(p) for p in own} and heads["lr"] == pytest.approx(1e-2)
    assert len(backbone["params"]) + len(own) == len(list(network.parameters()))


def test_settings_come_back_from_json_and_say_what_the_inner_network_is(tiny_recipe):
    recipe = tiny_recipe(SourceOnly(), model=dataclasses.replace(SMALL, detail=0.4))
    tree = json.loads(json.dumps(recipe.to_json()))
    assert Recipe.from_json(tree) == recipe and tree["model"]["class"] == "da_toolkit.models.HRDA"
    assert "weights" not in tree["model"] and tree["model"]["network"]["weights"] == "none"
    assert (recipe.model.backbone, recipe.model.weights, recipe.model.aux) == ("test_resnet", "none", False)
    assert SMALL.with_weights("timm").network.weights == "timm" == SMALL.with_weights("timm").weights
    other = DAFormer("mit_test", weights="none")
    assert SMALL.with_network(other) == dataclasses.replace(SMALL, network=other) and INNER.with_network(other) is other


def without_memory(settings):
    with torch.device("meta"):
        return settings.build(5)


def aux_inside():
    return HRDA(network=DeepLabV2("test_resnet", 16, "none", aux=True))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HRDA(network=SMALL), "model.network: HRDA cannot be put around HRDA"),
        (lambda: HRDA(network="mit_b5"), "model.network must be the settings of a network"),
        (aux_inside, "model.network.aux: HRDA has no auxiliary level"),
        (lambda: dataclasses.replace(SMALL, detail=0.0), "model.detail is a share"),
        (lambda: dataclasses.replace(SMALL, detail=1.5), "model.detail is a share"),
        (lambda: dataclasses.replace(SMALL, detail_weight=-0.1), r"model.detail_weight lies in 0..1, got -0.1"),
        (lambda: dataclasses.replace(SMALL, attention_width=0), "model.attention_width must be at least 1"),
        (
            lambda: without_memory(HRDA(network=DeepLabV2("resnet50_caffe", 8, "none"))),
            "model.network.backbone resnet50_caffe lays its positions from corner to corner",
        ),
        (
            lambda: HRDA(network=DeepLabV2("convit_tiny", 16, "none")).build(5),
            "it cannot take 448x448: .*Choose another backbone",
        ),
        (lambda: SMALL.with_weights("nowhere.pth").build(5), "model.network.weights"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_a_sentence(make, message):
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize(
    ("inner", "cell"),
    [
        (DeepLabV2("test_resnet", 16, "none", dilations=(1, 2)), 32),
        (DAFormer("mit_test", weights="none", width=8), 8),
        (VisionTransformer("test_vit", 16, "none", blocks=2, width=8), 32),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, int) else "",
)
def test_any_network_can_be_inside(inner, cell):
    network = HRDA(network=inner, attention_width=8).build(5)
    assert network.cell == cell
    images = torch.rand(2, 3, 64, 128)
    assert network.train()(images).logits.shape == network.eval()(images).logits.shape
    assert network(images).logits.shape == (2, 5, 64 * 2 // cell, 128 * 2 // cell)
