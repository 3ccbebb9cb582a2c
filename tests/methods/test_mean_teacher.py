"""The mean teacher against its formulas written plainly."""

import copy

import pytest
import torch
from tester import step_of

from da_toolkit.data.batch import Batch
from da_toolkit.errors import UserError
from da_toolkit.methods import ClassMix, Masking, MeanTeacher, Oracle, SourceOnly
from da_toolkit.methods.mean_teacher import pseudo_labels, weighted_loss
from da_toolkit.models.segmenter import Output
from da_toolkit.models.teacher import Teacher
from da_toolkit.terms.step import View


def make(tiny_trainer, **settings):
    return tiny_trainer(SourceOnly(regularizers=(MeanTeacher(**settings),)))


def test_the_teacher_is_the_moving_average(tiny_trainer):
    """theta' <- m theta' + (1 - m) theta with m = min(1 - 1/(i+1), momentum), parameter by parameter."""
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    teacher = Teacher(network)
    expected = {name: value.clone() for name, value in network.named_parameters()}
    for step in range(1, 15):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter))
            network[1].running_mean.add_(1.0)
        teacher.follow(network, 0.9)
        momentum = min(1 - 1 / (step + 1), 0.9)
        for name, value in network.named_parameters():
            expected[name] = momentum * expected[name] + (1 - momentum) * value.detach()
    for name, value in teacher.network.named_parameters():
        torch.testing.assert_close(value, expected[name])
        assert not value.requires_grad
    assert torch.equal(teacher.network[1].running_mean, network[1].running_mean)
    teacher.train()
    assert not teacher.network.training and not teacher.network[1].training


def test_the_first_step_may_make_the_teacher_the_network():
    """DACS: m = min(1 - 1/i, momentum) at step i = 1, 2, ..., so 0 first; DAFormer's is 1/2 first."""
    network = torch.nn.Linear(3, 2).double()
    teachers = {first: Teacher(network) for first in ("half", "zero")}
    expected = {first: network.weight.detach().clone() for first in teachers}
    for step in range(1, 13):
        with torch.no_grad():
            network.weight.add_(torch.randn(2, 3, dtype=torch.float64))
        for first, teacher in teachers.items():
            teacher.follow(network, 0.8, first)
            momentum = min(1 - 1 / (step + 1) if first == "half" else 1 - 1 / step, 0.8)
            expected[first] = momentum * expected[first] + (1 - momentum) * network.weight.detach()
            torch.testing.assert_close(teacher.network.weight, expected[first], rtol=0, atol=1e-12)
        if step == 1:
            assert torch.equal(teachers["zero"].network.weight, network.weight)
            assert not torch.equal(teachers["half"].network.weight, network.weight)


@pytest.mark.parametrize("first", ["half", "zero"])
def test_the_setting_of_the_first_step_reaches_the_teacher(tiny_trainer, first):
    trainer = make(tiny_trainer, first_momentum=first)
    trainer.step()
    pairs = zip(trainer.terms[1].teacher.network.parameters(), trainer.model.parameters(), strict=True)
    assert all(torch.equal(mine, its) for mine, its in pairs) == (first == "zero")


class OneNorm(torch.nn.Module):
    """Convolution, batch norm, dropout: enough to write its output down."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.drop = torch.nn.Conv2d(3, 5, 1), torch.nn.BatchNorm2d(5), torch.nn.Dropout(0.5)
        with torch.no_grad():
            self.norm.weight.uniform_(0.5, 2)
            self.norm.bias.normal_()

    def forward(self, images):
        return Output(self.drop(self.norm(self.conv(images))), None, images)


def test_batch_statistics_are_the_mean_and_variance_of_the_images_it_labels():
    torch.manual_seed(0)
    network = OneNorm()
    teachers = {kind: Teacher(network, kind) for kind in ("running", "batch")}
    images = torch.rand(3, 3, 6, 7) * 4 - 1
    x = network.conv(images).detach()
    scale, shift = network.norm.weight.detach().view(1, 5, 1, 1), network.norm.bias.detach().view(1, 5, 1, 1)
    own = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
    expected = {"running": x / (1 + 1e-5) ** 0.5, "batch": own}
    for kind, teacher in teachers.items():
        for mode in (True, False, True):
            teacher.train(mode)
            found = teacher.probabilities(images)
            torch.testing.assert_close(found, (expected[kind] * scale + shift).softmax(1))
        teacher.follow(network, 0.9)  # what its norms noted meanwhile is forgotten
        assert torch.equal(teacher.network.norm.running_mean, network.norm.running_mean)


def test_norms_that_a_network_keeps_frozen_stay_so_in_its_teacher(with_dropout):
    network = with_dropout.build(4)
    teacher = Teacher(network, "batch")
    training = [module for module in teacher.network.modules() if module.training]
    assert training and all(isinstance(module, torch.nn.BatchNorm2d) for module in training)
    assert not any(module.training for module in teacher.network.backbone.modules())


def test_the_setting_of_the_statistics_reaches_the_teacher(tiny_trainer):
    trainer = make(tiny_trainer, statistics="batch")
    trainer.step()
    term = trainer.terms[1]
    network = copy.deepcopy(term.teacher.network).train()
    images = step_of(trainer).target.batch.image
    with torch.no_grad():
        logits = torch.nn.functional.interpolate(network(images).logits, size=images.shape[2:], mode="bilinear")
    torch.testing.assert_close(term.teacher.probabilities(images), logits.softmax(1))
    network.eval()
    with torch.no_grad():
        logits = torch.nn.functional.interpolate(network(images).logits, size=images.shape[2:], mode="bilinear")
    assert (term.teacher.probabilities(images) - logits.softmax(1)).abs().max() > 1e-3


def test_labels_may_count_as_much_as_their_batch_is_sure():
    """DACS and DAFormer: one share, of all images' pixels together."""
    probabilities = torch.randn(3, 4, 8, 6, generator=torch.Generator().manual_seed(1)).mul(4).softmax(1)
    probabilities[2] = 0.25  # an image that is sure nowhere
    label, sure = pseudo_labels(probabilities, MeanTeacher(threshold=0.7, ignore_bottom=0.25, weights="batch"))
    pixels = [float(probabilities[b, :, h, w].max()) for b in range(3) for h in range(8) for w in range(6)]
    share = sum(pixel > 0.7 for pixel in pixels) / len(pixels)
    assert 0 < share < 1 and torch.equal(label, probabilities.argmax(1))
    assert sure[:, :6].flatten().tolist() == pytest.approx([share] * (3 * 6 * 6)) and (sure[:, 6:] == 0).all()
    assert pseudo_labels(probabilities, MeanTeacher(threshold=0.7))[1][2].max() == 0


def test_labels_count_as_much_as_their_image_is_sure():
    probabilities = torch.randn(3, 4, 8, 6, generator=torch.Generator().manual_seed(0)).mul(4).softmax(1)
    settings = MeanTeacher(threshold=0.8, ignore_top=0.25, ignore_bottom=0.125)
    label, sure = pseudo_labels(probabilities, settings)
    for image in range(3):
        share = sum(float(probabilities[image, :, h, w].max()) > 0.8 for h in range(8) for w in range(6)) / 48
        assert 0 < share < 1
        for h in range(8):
            expected = share if 2 <= h < 7 else 0.0
            assert sure[image, h].tolist() == pytest.approx([expected] * 6)
    assert torch.equal(label, probabilities.argmax(1))


def test_the_weighted_loss_equals_a_loop():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, generator=generator)
    label = torch.randint(0, 3, (2, 4, 5), generator=generator)
    label[0, 0] = 255
    weights = torch.rand(2, 4, 5, generator=generator)
    total = 0.0
    for b in range(2):
        for h in range(4):
            for w in range(5):
                if label[b, h, w] != 255:
                    c = int(label[b, h, w])
                    total -= float(logits[b, :, h, w].log_softmax(0)[c]) * float(weights[b, h, w])
    assert weighted_loss(logits, label, weights).item() == pytest.approx(total / 40, rel=1e-5)


def test_the_mixed_loss_equals_the_papers(tiny_trainer):
    """With no colour change: source pixels and labels where pasted, the teacher's elsewhere."""
    trainer = make(tiny_trainer, threshold=0.2, mix=ClassMix(weight=0.5, jitter=0, blur=0))
    trainer.model.eval()
    term, step = trainer.terms[1], step_of(trainer)
    with torch.no_grad():
        for parameter in term.teacher.network.parameters():
            parameter.mul_(1.1)  # so that teacher and student differ
    torch.manual_seed(3)
    found = term.losses(step)["mix"]
    torch.manual_seed(3)
    scores = torch.rand(2, 19)
    source, target = step.source.batch, step.target.batch
    probabilities = term.teacher.probabilities(target.image)
    total = []
    for image in range(2):
        present = source.label[image].unique().tolist()
        taken = sorted(present, key=lambda c: float(scores[image, c]))[: (len(present) + 1) // 2]
        pasted = torch.stack([source.label[image] == c for c in taken]).any(0)
        mixed = torch.where(pasted, source.image[image], target.image[image])
        highest, label = probabilities[image].max(0)
        label = torch.where(pasted, source.label[image], label)
        weight = torch.where(pasted, 1.0, (highest > 0.2).float().mean())
        logits = torch.nn.functional.interpolate(trainer.model(mixed[None]).logits, size=(64, 96), mode="bilinear")
        total.append((torch.nn.functional.cross_entropy(logits, label[None], reduction="none")[0] * weight).mean())
    torch.testing.assert_close(found, 0.5 * (total[0] + total[1]) / 2, rtol=1e-4, atol=1e-5)


def test_the_masked_loss_shows_the_network_less_than_the_teacher(tiny_trainer):
    parts = {"mix": ClassMix(weight=0.0), "masking": Masking(weight=2.0, block=16, ratio=0.5, jitter=0, blur=0)}
    trainer = make(tiny_trainer, threshold=0.1, **parts)
    trainer.model.eval()
    term, step = trainer.terms[1], step_of(trainer)
    torch.manual_seed(5)
    found = term.losses(step)
    assert set(found) == {"masked"}
    torch.manual_seed(5)
    image = step.target.batch.image
    hidden = (torch.rand(2, 1, 4, 6) < 0.5).repeat_interleave(16, 2).repeat_interleave(16, 3)
    logits = trainer.model(torch.where(hidden, trainer.model.mean, image)).logits
    logits = torch.nn.functional.interpolate(logits, size=(64, 96), mode="bilinear")
    label, sure = pseudo_labels(term.teacher.probabilities(image), term.settings)
    each = torch.nn.functional.cross_entropy(logits, label, reduction="none")
    torch.testing.assert_close(found["masked"], 2 * (each * sure).mean(), rtol=1e-4, atol=1e-5)


def test_labels_of_categories_equal_a_loop(tiny_trainer):
    """The teacher's pixels pay -log of their category's probability, the pasted ones -log of their class's."""
    term = make(tiny_trainer, level="category").terms[-1]
    logits = torch.randn(1, 19, 3, 4)
    pasted = torch.rand(1, 3, 4) > 0.5
    label = torch.where(pasted, torch.randint(0, 19, (1, 3, 4)), torch.randint(0, 7, (1, 3, 4)))
    label[0, 0, 0] = 255
    weights = torch.rand(1, 3, 4)
    probabilities, total = logits.softmax(1), 0.0
    for y in range(3):
        for x in range(4):
            own = int(label[0, y, x])
            if own == 255:
                continue
            members = [own] if pasted[0, y, x] else list(term.categories.members[own])
            total -= float(weights[0, y, x] * probabilities[0, members, y, x].sum().log())
    found = term._taught(view_of(logits), label, weights, label, pasted)
    assert found.item() == pytest.approx(total / 12, rel=1e-5)


def view_of(logits, cell=1, at_head=False):
    """A view of an image, of which the network gives these logits of its pixels, or of cells of pixels."""
    images = torch.zeros(1, 3, cell * logits.shape[2], cell * logits.shape[3])
    return View(lambda images: Output(logits, None, logits), Batch(images, None, torch.arange(1)), at_head)


@pytest.mark.parametrize("level", ["class", "category"])
def test_at_the_head_a_mixed_position_counts_once(tiny_trainer, level):
    """Of 16 pixels of each position 12, 8 and 4 are pasted; half of the others have no label."""
    term = make(tiny_trainer, level=level).terms[-1]
    logits, weights = torch.randn(1, 19, 1, 3), torch.rand(1, 4, 12)
    columns = torch.arange(12).expand(1, 4, 12)
    pasted = (columns < 3) | (columns >= 4) & (columns < 6) | (columns == 8)
    label = torch.full((1, 4, 12), 2)
    label[:, ::2] = 255
    found = term._taught(view_of(logits, 4, at_head=True), label, weights, torch.full_like(label, 13), pasted)
    members = [[13], list(term.categories.members[2]), list(term.categories.members[2])]
    if term.categories.plain:
        members = [[13], [13], [2]]  # a tie of 8 pasted pixels with 4 that are labelled is none
    each = [-logits.softmax(1)[0, own, 0, place].sum().log() for place, own in enumerate(members)]
    total = sum(cost * weights[..., 4 * place : 4 * place + 4].mean() for place, cost in enumerate(each))
    assert found.item() == pytest.approx(total.item() / 3, rel=1e-5)


def test_a_teacher_of_categories_says_nothing_of_the_class(tiny_trainer):
    """Whether the network says road or sidewalk costs the same where the label is flat; what is built costs more."""
    term = make(tiny_trainer, level="category").terms[-1]
    nowhere = torch.zeros(1, 1, 1, dtype=torch.bool)
    costs = []
    for said in (0, 1, 2):
        logits = torch.zeros(1, 19, 1, 1)
        logits[:, said] = 9.0
        flat = torch.zeros(1, 1, 1, dtype=torch.int64)
        costs.append(term._taught(view_of(logits), flat, torch.ones(1, 1, 1), flat, nowhere).item())
    assert costs[0] == pytest.approx(costs[1], abs=1e-6) and costs[2] > costs[0] + 5


def test_a_category_is_as_sure_as_its_classes_together(tiny_trainer):
    """Road 0.3 and sidewalk 0.3 are flat with 0.6, though building has 0.4."""
    trainer = make(tiny_trainer, level="category", threshold=0.5, mix=ClassMix(weight=0.0), masking=Masking())
    term, step = trainer.terms[-1], step_of(trainer)
    said = torch.zeros(19)
    said[[0, 1, 2]] = torch.tensor([0.3, 0.3, 0.4])
    seen = []
    term.teacher.probabilities = lambda images: said[None, :, None, None].expand(len(images), -1, *images.shape[2:])
    term._loss = lambda logits, label, classes, sure, pasted: seen.append((label, sure)) or logits.sum() * 0
    term.losses(step)
    ((label, sure),) = seen
    assert (label == 0).all() and (sure == 1).all()


def test_no_gradient_reaches_the_teacher_and_it_follows_every_step(tiny_trainer):
    trainer = make(tiny_trainer)
    before = copy.deepcopy(trainer.terms[1].teacher.network.state_dict())
    trainer.fit(lambda *_: None)
    teacher = trainer.terms[1].teacher
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert teacher.steps == 4
    assert any(not torch.equal(value, before[name]) for name, value in teacher.network.state_dict().items())


def test_it_may_begin_later_while_the_teacher_follows(tiny_trainer):
    trainer = make(tiny_trainer, start=0.5)
    assert ["mix" in trainer.step() for _ in range(4)] == [False, False, True, True]
    assert trainer.terms[1].teacher.steps == 4


def test_bad_settings_and_a_method_without_source(tiny_recipe):
    with pytest.raises(UserError, match="momentum"):
        MeanTeacher(momentum=1.5)
    with pytest.raises(UserError, match="masking"):
        MeanTeacher(masking=Masking(block=0))
    with pytest.raises(UserError, match=r"mix\.weight"):
        tiny_recipe(Oracle(regularizers=(MeanTeacher(),)))
