"""Copy-paste against a loop over pixels, and what it leaves alone."""

import pytest
import torch
from ranks import two_ranks

from da_toolkit.data.batch import Batch
from da_toolkit.data.labels import CITYSCAPES19, LabelSpace
from da_toolkit.errors import UserError
from da_toolkit.methods import BuildContext, CopyPaste, SourceOnly
from da_toolkit.methods.copy_paste import pasted

PERSON, CAR = CITYSCAPES19.index("person"), CITYSCAPES19.index("car")


def example(count=3, height=8, width=12):
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(count, 3, height, width, generator=draw)
    label = torch.randint(0, 3, (count, height, width), generator=draw)
    label[0, :2] = 255
    return images, label


def bilinear(image, down, across):
    """[3] of an image [3,H,W] at a place in pixels from its corner, where pixel 0 lies at 0.5; the border goes on."""
    height, width = image.shape[1:]
    y, x = min(max(down - 0.5, 0), height - 1), min(max(across - 0.5, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = image[:, top, left] * (left + 1 - x) + image[:, top, right] * (x - left)
    lower = image[:, bottom, left] * (left + 1 - x) + image[:, bottom, right] * (x - left)
    return upper * (top + 1 - y) + lower * (y - top)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pasting_equals_a_loop_over_pixels(dtype):
    images, label = example()
    images = images.to(dtype)
    zoom, mirrored = torch.tensor([1.0, 1.7, 0.6], dtype=dtype), torch.tensor([False, True, True])
    moves = [(2, -1), (1.3, 0.4), (-3, 2)]
    shift = torch.tensor([(across / 12, down / 8) for across, down in moves], dtype=dtype)
    taken = torch.tensor([[False, True, False], [True, False, True], [True, True, True]])
    found, found_label = pasted(images, label, zoom, mirrored, shift, taken)
    for image in range(3):
        donor, changed = (image + 1) % 3, 0
        for y in range(8):
            for x in range(12):
                across, down = x + 0.5 - 6 - moves[image][0], y + 0.5 - 4 - moves[image][1]
                across = -across if mirrored[image] else across
                u, v = across / float(zoom[image]) + 6, down / float(zoom[image]) + 4
                inside = 0 <= u < 12 and 0 <= v < 8
                given = int(label[donor, int(v), int(u)]) if inside else 255
                if given != 255 and taken[image, given]:
                    changed += 1
                    assert found_label[image, y, x] == given
                    torch.testing.assert_close(found[image, :, y, x], bilinear(images[donor], v, u), atol=1e-5, rtol=0)
                else:
                    assert found_label[image, y, x] == label[image, y, x]
                    assert torch.equal(found[image, :, y, x], images[image, :, y, x])
        assert changed > 8


def term_of(tiny_trainer, **settings):
    return tiny_trainer(SourceOnly(regularizers=(CopyPaste(**settings),))).terms[1]


def test_things_alone_are_pasted_and_the_target_stays(tiny_trainer):
    torch.manual_seed(0)
    images, label = example(64)
    label[::2, 3:6, 4:8], label[::2, 6:, :3] = PERSON, 2
    source, target = Batch(images, label, torch.arange(64)), Batch(images.clone(), None, torch.arange(64))
    new, same = term_of(tiny_trainer, share=1.0, classes=1.0).transform(source, target)
    changed = new.label != label
    assert same is target and changed.any() and (new.label[changed] == PERSON).all()
    pixels = (new.image != images).any(1)
    assert (pixels <= (new.label == PERSON)).all()
    assert not changed[::2].any()  # whose next image has no things
    sizes = (new.label[1::2] == PERSON).sum((1, 2))
    assert sizes.min() < 12 < sizes.max()  # smaller and larger than the 12 pixels that are pasted
    assert term_of(tiny_trainer).transform(None, target) == (None, target)


def marked(count, size=16):
    """Images of sky alone, and between them ones with a person on the left and a car on the right of the middle."""
    label = torch.zeros(count, size, size, dtype=torch.int64)
    middle = slice(size // 2 - 2, size // 2 + 2)
    label[1::2, middle, size // 2 - 2 : size // 2], label[1::2, middle, size // 2 : size // 2 + 2] = PERSON, CAR
    return label


def transformed(tiny_trainer, label, **settings):
    """What becomes of the labels without things."""
    torch.manual_seed(0)
    images = torch.rand(len(label), 3, *label.shape[1:])
    batch = Batch(images, label, torch.arange(len(label)))
    return term_of(tiny_trainer, **settings).transform(batch, None)[0].label[::2]


def test_a_share_of_images_gets_a_share_of_classes(tiny_trainer):
    label = marked(4000)
    new = transformed(tiny_trainer, label, share=0.5, classes=0.4, scale=(1.0, 1.0))
    person, car = ((new == name).flatten(1).any(1) for name in (PERSON, CAR))
    for got, expected in ((person, 0.5 * 0.4), (car, 0.5 * 0.4), (person & car, 0.5 * 0.4 * 0.4)):
        assert got.float().mean().item() == pytest.approx(expected, abs=0.03)
    for nothing in ({"share": 0.0}, {"classes": 0.0}):
        assert torch.equal(transformed(tiny_trainer, label, **nothing), label[::2])


def test_half_is_mirrored_and_zooms_are_even_in_their_logarithm(tiny_trainer):
    new = transformed(tiny_trainer, marked(2000, 48), share=1.0, classes=1.0, scale=(0.5, 4.0))
    both = [image for image in new if (image == PERSON).any() and (image == CAR).any()]
    assert len(both) > 600
    left = [(image == PERSON).nonzero()[:, 1].min() < (image == CAR).nonzero()[:, 1].min() for image in both]
    assert sum(left) / len(both) == pytest.approx(0.5, abs=0.06)
    heights = [(image == CAR).any(1).sum().item() for image in both]
    assert sorted(heights)[len(heights) // 2] == pytest.approx(4 * (0.5 * 4.0) ** 0.5, abs=1.0)  # evenly in zoom: 9


def test_things_stay_near_their_height(tiny_trainer):
    """Moved by at most 0.4 of the width and 0.175 of the height: what is pasted of the middle stays off the edges."""
    torch.manual_seed(0)
    label = torch.zeros(200, 40, 40, dtype=torch.int64)
    label[:, 19:21, 19:21] = CAR
    term = term_of(tiny_trainer, share=1.0, classes=1.0, scale=(1.0, 1.0))
    new = term.transform(Batch(torch.rand(200, 3, 40, 40), label, torch.arange(200)), None)[0].label
    rows, columns = (new == CAR).nonzero()[:, 1], (new == CAR).nonzero()[:, 2]
    assert rows.min() in (11, 12, 13) and rows.max() in (26, 27, 28)
    assert columns.min() in (2, 3, 4) and columns.max() in (35, 36, 37)


def test_a_space_without_things_is_refused(tiny_trainer):
    with pytest.raises(UserError, match="copy_paste needs thing classes, and grounds has none"):
        CopyPaste().build(BuildContext(LabelSpace("grounds", ("road", "sky")), 8, torch.nn.Identity()))


def test_a_network_is_trained_on_what_is_pasted(tiny_trainer):
    trainer = tiny_trainer(SourceOnly(regularizers=(CopyPaste(share=1.0),)))
    trainer.begin(trainer.recipe.schedule.stages[0])
    assert trainer.step()["seg"] > 0


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"share": 1.5}, r"copy_paste\.share must lie in 0\.\.1, got 1\.5"),
        ({"classes": -0.1}, r"copy_paste\.classes must lie in 0\.\.1"),
        ({"scale": (0.0, 1.0)}, "two zooms above 0"),
        ({"scale": (2.0, 1.0)}, "the least first"),
    ],
)
def test_settings_are_checked(wrong, told):
    with pytest.raises(UserError, match=told):
        CopyPaste(**wrong)


def test_two_ranks_paste_what_one_process_does(tmp_path, tiny_trainer):
    """Images are dealt in turn, and the next of an image is with the other rank."""
    label = marked(6).roll(1, 1)
    images = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))

    def batch_of(rows):
        term = term_of(tiny_trainer, share=1.0, classes=1.0)
        torch.manual_seed(0)
        batch = Batch(images[rows].contiguous(memory_format=torch.channels_last), label[rows], torch.arange(6)[rows])
        new = term.transform(batch, None)[0]
        return {"image": new.image, "label": new.label}

    ranks = two_ranks(lambda fabric: batch_of(slice(fabric.global_rank, None, 2)), tmp_path)
    expected = batch_of(slice(None))
    assert (expected["label"] != label).any()
    for rank, found in enumerate(ranks):
        for name, maps in expected.items():
            torch.testing.assert_close(found[name], maps[rank::2])
