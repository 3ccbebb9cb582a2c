"""Entropy losses against sums over pixels written plainly."""

import math

import pytest
import torch
from tester import step_of

from da_toolkit.errors import UserError
from da_toolkit.methods import Adversarial, Entropy, MaxSquares, SelfInformation, SourceOnly
from da_toolkit.methods.entropy import EntropyTerm, entropy_map, max_squares, self_information


@pytest.fixture
def logits():
    return torch.randn(2, 5, 6, 7, generator=torch.Generator().manual_seed(0)).mul(2)


def test_entropy_equals_a_sum_over_classes(logits):
    probabilities = logits.double().softmax(1)
    for image, row, column in ((0, 0, 0), (1, 5, 6), (0, 3, 2)):
        p = probabilities[image, :, row, column].tolist()
        expected = -sum(value * math.log2(value) for value in p) / math.log2(5)
        assert entropy_map(logits.log_softmax(1))[image, row, column].item() == pytest.approx(expected, abs=1e-5)


def test_certainty_is_0_and_a_uniform_prediction_1_without_nan():
    sure = torch.tensor([1000.0, 0.0, 0.0]).view(1, 3, 1, 1).requires_grad_()
    entropy = entropy_map(sure.log_softmax(1))
    entropy.sum().backward()
    assert entropy.item() == 0 and torch.isfinite(sure.grad).all()
    assert entropy_map(torch.zeros(1, 3, 1, 1).log_softmax(1)).item() == pytest.approx(1)


def test_max_squares_equals_a_loop_over_pixels(logits):
    p = logits.softmax(1)
    plain = -sum(float(p[b, c, h, w]) ** 2 for b in range(2) for c in range(5) for h in range(6) for w in range(7))
    assert max_squares(p).item() == pytest.approx(plain / (2 * 2 * 5 * 42), rel=1e-5)
    weighted = 0.0
    for b in range(2):
        decided = p[b].argmax(0)
        for h in range(6):
            for w in range(7):
                pixels = int((decided == decided[h, w]).sum())
                weighted -= float((p[b, :, h, w] ** 2).sum()) / (pixels**0.2 * 42**0.8)
    assert max_squares(p, alpha=0.2).item() == pytest.approx(weighted / (2 * 5), rel=1e-5)
    assert max_squares(p, alpha=0.0).item() == pytest.approx(2 * max_squares(p).item(), rel=1e-5)


@pytest.mark.parametrize("alpha", [None, 0.2, 1.0])
def test_max_squares_makes_a_torn_pixel_surer_of_its_own_class(alpha):
    """Also where the other class is absent from the image, and so rarest."""
    p = torch.full((1, 3, 4, 4), 0.02)
    p[:, 0] = 0.96
    p[0, :, 2, 2] = torch.tensor([0.6, 0.2, 0.2])
    z = p.log().requires_grad_()
    max_squares(z.softmax(1), alpha).backward()
    assert z.grad[0, 0, 2, 2] < 0 < z.grad[0, 1, 2, 2]


def test_the_gradient_of_max_squares_is_linear_in_p_and_not_steeper_where_easy():
    """Binary case of the paper: d/dz of -(p^2 + (1-p)^2)/2 = -(2p - 1) p (1 - p)."""
    z = torch.tensor([0.3, 2.0, 6.0], dtype=torch.double, requires_grad=True)
    p = torch.stack([z.sigmoid(), 1 - z.sigmoid()])[None, :, None]
    (max_squares(p) * 6).backward()
    s = z.detach().sigmoid()
    torch.testing.assert_close(z.grad, -(2 * s - 1) * s * (1 - s))


def test_the_charbonnier_penalty(logits):
    class Given:
        def log_probabilities(self, level):
            return logits.log_softmax(1)

    entropy = entropy_map(logits.log_softmax(1))
    expected = (entropy.double() ** 2 + 1e-8).pow(2.0).mean().item()
    assert EntropyTerm(1.0, 1.0, eta=2.0).loss(Given(), "main").item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("level", ["main", "aux"])
def test_the_entropy_may_be_taken_at_the_heads_resolution(level, tiny_trainer):
    """FDA's: (H^2 + 1e-8)^2 of each position of the head's own map, not of the enlarged one."""
    part = Entropy(weight=0.3, aux_weight=0.7, eta=2.0, resolution="head")
    trainer = tiny_trainer(SourceOnly(regularizers=(part,)))
    step = step_of(trainer)
    coarse = step.target.output.logits if level == "main" else step.target.output.aux_logits
    assert coarse.shape[2:] == (4, 6)
    total = 0.0
    for image in range(2):
        for row in range(4):
            for column in range(6):
                p = coarse[image, :, row, column].double().softmax(0).tolist()
                total += ((-sum(v * math.log(v) for v in p) / math.log(19)) ** 2 + 1e-8) ** 2
    found = trainer.terms[1].losses(step)["entropy" if level == "main" else "entropy_aux"].item()
    assert found == pytest.approx((0.3 if level == "main" else 0.7) * total / 48, rel=1e-4)
    enlarged = EntropyTerm(0.3, 0.7, 2.0).losses(step)["entropy" if level == "main" else "entropy_aux"].item()
    assert abs(enlarged - found) > 1e-4 * found


@pytest.mark.parametrize(("part", "name"), [(Entropy(weight=0.5), "entropy"), (MaxSquares(weight=0.5), "max_square")])
def test_both_levels_have_their_weight(part, name, tiny_trainer):
    step = step_of(trainer := tiny_trainer(SourceOnly(regularizers=(part,))))
    losses = trainer.terms[1].losses(step)
    assert set(losses) == {name, f"{name}_aux"}
    loss = trainer.terms[1].loss(step.target, "main")
    torch.testing.assert_close(losses[name], 0.5 * loss)


def test_advent_judges_self_information(tiny_trainer):
    method = Adversarial(discriminators=(SelfInformation(weight=1.0),))
    trainer = tiny_trainer(method)
    step = step_of(trainer)
    term = trainer.terms[1]
    shown = method.discriminators[0].map(step.target)
    torch.testing.assert_close(shown, self_information(step.target.logits().log_softmax(1)))
    judged = term.discriminator(shown)
    expected = -torch.log(1 - judged.double().sigmoid()).mean()  # called source, which is 0
    torch.testing.assert_close(term.losses(step)["adv_entropy_main"].double(), expected, rtol=1e-5, atol=1e-6)


def test_alpha_is_checked():
    with pytest.raises(UserError, match="alpha"):
        MaxSquares(alpha=1.5)
