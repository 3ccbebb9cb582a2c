"""Copy-paste against a loop over pixels, and what it leaves alone."""

import pytest
import torch

from da_toolkit.data.batch import Batch
from da_toolkit.data.labels import CITYSCAPES19
from da_toolkit.errors import UserError
from da_toolkit.methods import CopyPaste, SourceOnly
from da_toolkit.methods.copy_paste import pasted

PERSON, CAR = CITYSCAPES19.index("person"), CITYSCAPES19.index("car")


def example(count=3, height=8, width=12):
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(count, 3, height, width, generator=draw)
    label = torch.randint(0, 3, (count, height, width), generator=draw)
    label[0, :2] = 255
    return images, label


def test_pasting_equals_a_loop_over_pixels():
    """With whole numbers for zooms and moves each pixel shows one of the next image, which a loop can name."""
    images, label = example()
    zoom, mirrored = torch.tensor([1.0, 2.0, 1.0]), torch.tensor([False, False, True])
    shift = torch.tensor([[2 / 12, -1 / 8], [0.0, 0.0], [-3 / 12, 2 / 8]])
    taken = torch.tensor([[False, True, False, False], [True, False, True, False], [True, True, True, False]])
    found, found_label = pasted(images, label, zoom, mirrored, shift, taken)
    moves = [(2, -1), (0, 0), (-3, 2)]
    for image in range(3):
        donor = (image + 1) % 3
        for y in range(8):
            for x in range(12):
                across, down = x - moves[image][0] + 0.5 - 6, y - moves[image][1] + 0.5 - 4
                across = -across if mirrored[image] else across
                u, v = across / float(zoom[image]) + 6, down / float(zoom[image]) + 4
                inside = 0 <= u < 12 and 0 <= v < 8
                given = int(label[donor, int(v), int(u)]) if inside else 255
                if given != 255 and taken[image, given]:
                    assert found_label[image, y, x] == given
                    if zoom[image] == 1:
                        expected = images[donor, :, int(v), int(u)]
                        torch.testing.assert_close(found[image, :, y, x], expected, atol=1e-5, rtol=0)
                else:
                    assert found_label[image, y, x] == label[image, y, x]
                    assert torch.equal(found[image, :, y, x], images[image, :, y, x])


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


def test_a_share_of_images_gets_a_share_of_classes(tiny_trainer):
    """Where all is sky but one image's person and car, of which each comes or does not."""
    torch.manual_seed(0)
    images, label = torch.rand(400, 3, 16, 16), torch.zeros(400, 16, 16, dtype=torch.int64)
    label[1::2, 8, :8], label[1::2, 8, 8:] = PERSON, CAR
    term = term_of(tiny_trainer, share=0.5, classes=0.4, scale=(1.0, 1.0))
    new = term.transform(Batch(images, label, torch.arange(400)), None)[0].label[::2]
    person, car = ((new == name).flatten(1).any(1) for name in (PERSON, CAR))
    for got, expected in ((person, 0.5 * 0.4), (car, 0.5 * 0.4), (person & car, 0.5 * 0.4 * 0.4)):
        assert got.float().mean().item() == pytest.approx(expected, abs=0.08)
    for nothing in ({"share": 0.0}, {"classes": 0.0}):
        assert torch.equal(term_of(tiny_trainer, **nothing).transform(Batch(images, label, None), None)[0].label, label)


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


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"share": 1.5}, r"share and classes lie in 0\.\.1"),
        ({"classes": -0.1}, r"share and classes lie in 0\.\.1"),
        ({"scale": (0.0, 1.0)}, "two zooms above 0"),
        ({"scale": (2.0, 1.0)}, "the least first"),
    ],
)
def test_settings_are_checked(wrong, told):
    with pytest.raises(UserError, match=told):
        CopyPaste(**wrong)
