"""The way of many images: videos, sizes, batches, flat memory, and a GPU whose memory is too small."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from da_toolkit.data.labels import CITYSCAPES19, LabelSpace
from da_toolkit.errors import UserError
from da_toolkit.evaluation.evaluate import to_input
from da_toolkit.evaluation.inference import Inference
from da_toolkit.models.segmenter import Output, Segmenter
from da_toolkit.predicting.inputs import Input
from da_toolkit.predicting.outputs import Outputs
from da_toolkit.predicting.pipeline import Network, Pipeline
from da_toolkit.predicting.video import Video

CPU = torch.device("cpu")


class Colours(Segmenter):
    """Decides each pixel by its colour; refuses more than `most` pixels at once, as a small GPU does."""

    def __init__(self, most=None, classes=19):
        super().__init__()
        self.num_classes = classes
        self.weight = torch.nn.Parameter(torch.randn(classes, 3, 1, 1, generator=torch.Generator().manual_seed(0)) * 5)
        self.most, self.sizes = most, []

    def forward(self, images):
        if images.device.type != "meta":
            self.sizes.append(tuple(images.shape))
            if self.most is not None and images.shape[0] * images.shape[2] * images.shape[3] > self.most:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return Output(F.conv2d(images, self.weight), None, images)


def predicted(tmp_path, images, kinds=("train_ids",), model=None, settings=None, **more):
    """Train ids by name, of images that are written first; and the pipeline."""
    inputs = []
    for name, image in images.items():
        file = tmp_path / "in" / f"{name}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(file)
        inputs.append(Input(name, file))
    outputs = Outputs(tmp_path / "out", kinds, CITYSCAPES19)
    pipeline = Pipeline(Network(model or Colours(), CPU, settings or Inference(), (16, 24), **more), outputs)
    pipeline.run(inputs)
    found = {name: np.asarray(Image.open(tmp_path / "out" / kinds[0] / f"{name}.png")) for name in images}
    return found, pipeline


def pictures(*sizes):
    draw = np.random.default_rng(0)
    return {f"i{number}": draw.integers(0, 256, (*size, 3)).astype(np.uint8) for number, size in enumerate(sizes)}


def directly(image):
    with torch.inference_mode():
        return Colours()(to_input(image[None], CPU)).logits.argmax(1)[0].byte().numpy()


def test_images_of_all_sizes_go_through_the_network_in_full_batches(tmp_path):
    model = Colours()
    images = pictures((40, 60), (16, 24), (7, 90), (30, 30), (16, 24))
    found, pipeline = predicted(tmp_path, images, model=model, settings=Inference(batch_size=2))
    assert model.sizes == [(2, 3, 16, 24), (2, 3, 16, 24), (1, 3, 16, 24)]
    assert {name: ids.shape for name, ids in found.items()} == {name: im.shape[:2] for name, im in images.items()}
    for name in ("i1", "i4"):
        assert (found[name] == directly(images[name])).all()
    assert pipeline.tally.done == 5


def test_at_their_own_size_larger_images_pass_under_a_window(tmp_path):
    model = Colours()
    images = pictures((40, 60), (16, 24), (16, 24), (5, 90))
    found, _ = predicted(tmp_path, images, model=model, own_size=True)
    for name, image in images.items():
        assert (found[name] == directly(image)).all()
    assert max(height * width for _, _, height, width in model.sizes) == 16 * 24


def test_confidence_and_entropy_are_those_of_the_probabilities(tmp_path):
    images = pictures((16, 24))
    kinds = ("confidence", "entropy", "masks", "overlays")
    found, _ = predicted(tmp_path, images, kinds)
    with torch.inference_mode():
        probabilities = Colours()(to_input(images["i0"][None], CPU)).logits.softmax(1)[0].double()
    assert np.abs(found["i0"] - (255 * probabilities.amax(0)).numpy()).max() <= 0.51
    entropy = -(probabilities * probabilities.log()).sum(0) / np.log(19)
    written = np.asarray(Image.open(tmp_path / "out" / "entropy" / "i0.png"))
    assert np.abs(written - (255 * entropy).numpy()).max() <= 0.51
    mask = np.asarray(Image.open(tmp_path / "out" / "masks" / "i0.png"))
    assert (mask == CITYSCAPES19.colorize(directly(images["i0"]))).all()
    overlay = np.asarray(Image.open(tmp_path / "out" / "overlays" / "i0.png"))
    assert (overlay == (images["i0"].astype(int) + mask) // 2).all()


def test_a_small_gpu_gets_fewer_images_at_once_and_at_last_a_window(tmp_path):
    images = pictures((160, 240), (160, 240))
    said = []
    settings = Inference(size=(160, 240), batch_size=2)
    outputs = Outputs(tmp_path / "out", ("train_ids",), CITYSCAPES19)
    for most, told in ((160 * 240, 0), (80 * 120, 1)):
        network = Network(Colours(most), CPU, settings, (160, 240))
        pipeline = Pipeline(network, outputs, tell=said.append)
        decided = pipeline._decide(list(images.values()))
        assert len(said) == told
        for image, decision in zip(images.values(), decided, strict=True):
            assert (decision.classes == directly(image)).all()
    assert said == ["The GPU's memory asks for a window of 80x120 (--window sets one)."]
    with pytest.raises(UserError, match="memory is too small for an image of 160x240"):
        Pipeline(Network(Colours(9), CPU, settings, (160, 240)), outputs)._decide([images["i0"]])


@pytest.mark.parametrize(("ending", "code"), [("mp4", "mp4v"), ("avi", "MJPG")])
def test_a_videos_frames_are_images_in_their_order(tmp_path, ending, code):
    file = tmp_path / f"v.{ending}"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*code), 5, (48, 32))
    for number in range(12):
        writer.write(np.full((32, 48, 3), (20 * number, 0, 0), np.uint8))  # BGR
    writer.release()
    video = Video(file)
    blue = []
    while (frame := video.read()) is not None:
        blue.append(int(frame[..., 2].mean()))
    assert len(blue) == 12 and np.abs(np.array(blue) - 20 * np.arange(12)).max() < 12
    outputs = Outputs(tmp_path / "out", ("train_ids",), CITYSCAPES19)
    names = [f"{number:06d}.png" for number in range(12)]
    for done, kept in ((12, 0), (0, 12)):
        tally = Pipeline(Network(Colours(), CPU, Inference(), (32, 48)), outputs).run([Input("v", file)])
        assert (tally.done, tally.kept, tally.left_out) == (done, kept, 0)
        assert sorted(found.name for found in (tmp_path / "out" / "train_ids" / "v").iterdir()) == names
    before = (tmp_path / "out/train_ids/v/000005.png").read_bytes()
    (tmp_path / "out/train_ids/v/000005.png").unlink()
    tally = Pipeline(Network(Colours(), CPU, Inference(), (32, 48)), outputs).run([Input("v", file)])
    assert (tally.done, tally.kept) == (1, 11)
    assert (tmp_path / "out/train_ids/v/000005.png").read_bytes() == before
    content = file.read_bytes()
    (tmp_path / "half.mp4").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.mp4").write_bytes(b"")
    said = []
    pipeline = Pipeline(Network(Colours(), CPU, Inference(), (32, 48)), outputs, tell=said.append)
    tally = pipeline.run([Input(name, tmp_path / f"{name}.mp4") for name in ("half", "empty", "missing")])
    assert tally.left_out == 3 and "empty.mp4 is empty" in said[1] and "missing.mp4 does not exist" in said[2]
    assert "half.mp4 holds no frames that can be read" in said[0] or "half.mp4 ends after" in said[0]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="a system that tells no resident memory there")
def test_memory_stays_flat_over_hundreds_of_images(tmp_path):
    image = np.full((600, 800, 3), 90, np.uint8)
    (tmp_path / "in").mkdir()
    file = tmp_path / "in" / "one.png"
    Image.fromarray(image).save(file)
    outputs = Outputs(tmp_path / "out", ("train_ids",), LabelSpace("two", ("this", "that")))

    def highest(first, count):
        """Resident memory in bytes, while images are predicted."""
        seen = []
        page = os.sysconf("SC_PAGE_SIZE")
        note = lambda: seen.append(int(Path("/proc/self/statm").read_text().split()[1]) * page)  # noqa: E731
        inputs = [Input(f"{number}", file) for number in range(first, first + count)]
        settings = Inference()
        tally = Pipeline(Network(Colours(classes=2), CPU, settings, (16, 24)), outputs, count=note).run(inputs)
        assert tally.done == count
        return max(seen)

    warm = highest(0, 30)
    assert highest(30, 240) - warm < 0.2 * 240 * image.nbytes
