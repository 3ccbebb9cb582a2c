"""Confusion matrices against counting by hand, and IoU against cityscapesScripts' own evaluation."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from da_toolkit.data.labels import CITYSCAPES19
from da_toolkit.evaluation.metrics import (
    image_confusions,
    iou,
    pixel_accuracy,
)
from da_toolkit.evaluation.protocols import PROTOCOLS, score


def count_by_hand(prediction: np.ndarray, label: np.ndarray, classes: int) -> np.ndarray:
    counts = np.zeros((classes, classes), dtype=np.int64)
    for decided, true in zip(prediction.flat, label.flat, strict=True):
        if true < classes:
            counts[true, decided] += 1
    return counts


def random_pair(seed: int, classes: int, shape: tuple[int, ...] = (2, 9, 13)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, shape)
    label[rng.random(shape) < 0.2] = 255
    return rng.integers(0, classes, shape), label


def test_counts_of_each_image_equal_counting_by_hand() -> None:
    prediction, label = random_pair(0, 5, (3, 9, 13))
    counts = image_confusions(torch.from_numpy(prediction), torch.from_numpy(label), 5)
    assert counts.dtype == torch.int64
    for image in range(3):
        np.testing.assert_array_equal(counts[image].numpy(), count_by_hand(prediction[image], label[image], 5))


def confusion_matrix(prediction: torch.Tensor, label: torch.Tensor, num_classes: int) -> torch.Tensor:
    return image_confusions(prediction[None], label[None], num_classes)[0]


def test_uint8_inputs_do_not_overflow() -> None:
    prediction, label = random_pair(0, 19)
    counted = confusion_matrix(
        torch.from_numpy(prediction.astype(np.uint8)), torch.from_numpy(label.astype(np.uint8)), 19
    )
    np.testing.assert_array_equal(counted.numpy(), count_by_hand(prediction, label, 19))


@pytest.mark.parametrize("classes", [2, 180, 181, 255])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_counts_are_right_for_any_number_of_classes(classes: int, dtype: torch.dtype) -> None:
    """From 181 on, pairs are numbered with more than 16 bits."""
    prediction, label = random_pair(classes, classes, (1, 40, 50))
    prediction[0, :2, 0], label[0, :2, 0] = classes - 1, (classes - 1, 255)
    counted = confusion_matrix(torch.from_numpy(prediction).to(dtype)[0], torch.from_numpy(label).to(dtype)[0], classes)
    np.testing.assert_array_equal(counted.numpy(), count_by_hand(prediction, label, classes))


def test_an_id_that_16_bits_would_take_for_a_class_is_left_out() -> None:
    label = torch.tensor([65536, 1, -65535])
    assert confusion_matrix(torch.tensor([0, 1, 1]), label, 2).tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize("ignored", [255, 3, 7, -1])
def test_ids_outside_the_classes_are_left_out(ignored: int) -> None:
    label = torch.tensor([0, ignored, 2, ignored])
    counted = confusion_matrix(torch.tensor([0, 1, 1, 2]), label, 3)
    assert counted.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_only_ignored_pixels_leave_every_score_unknown() -> None:
    counted = confusion_matrix(torch.zeros(4, dtype=torch.int64), torch.full((4,), 255), 3)
    assert counted.sum() == 0
    assert np.isnan(iou(counted)).all()
    assert math.isnan(pixel_accuracy(counted))


def test_scores_of_a_matrix_worked_out_by_hand() -> None:
    #                        predicted 0, 1, 2, 3
    confusion = torch.tensor([[6, 2, 0, 0], [1, 3, 0, 4], [0, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(iou(confusion), [6 / 9, 3 / 10, np.nan, 0.0])  # 3 is only ever predicted
    assert pixel_accuracy(confusion) == 9 / 16


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\) and label \(3, 2\)"):
        image_confusions(torch.zeros(2, 3), torch.zeros(3, 2), 4)


@pytest.mark.parametrize("seed", range(4))
def test_equal_to_cityscapes_scripts_digit_for_digit(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cityscapes' evaluation reads our predictions and labels as id files; its scores are ours."""
    pytest.importorskip("cityscapesscripts")
    monkeypatch.setenv("CITYSCAPES_DATASET", str(tmp_path))
    monkeypatch.delenv("CITYSCAPES_EXPORT_DIR", raising=False)
    from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as referee
    from cityscapesscripts.helpers.labels import id2label, trainId2label

    rng = np.random.default_rng(seed)
    labelled = np.setdiff1d(np.arange(19), [16, 17])  # train: in neither; motorcycle: only ever predicted
    confusion = torch.zeros(19, 19, dtype=torch.int64)
    predicted_files, label_files = [], []
    for frame in range(3):
        label = rng.choice(labelled, (40, 70), p=rng.dirichlet(np.ones(len(labelled))))
        decided = np.where(
            rng.random(label.shape) < 0.6, label, rng.choice(np.setdiff1d(np.arange(19), [16]), label.shape)
        )
        ids = np.array([trainId2label[k].id for k in range(19)], dtype=np.uint8)
        label_ids = ids[label]
        # Ignored: unlabeled, ego vehicle, static, parking, caravan. The network decides there too.
        ignored = rng.random(label.shape) < 0.15
        label_ids[ignored] = rng.choice([0, 1, 4, 9, 29], ignored.sum())
        label = np.array([id2label[i].trainId if 0 <= id2label[i].trainId < 19 else 255 for i in range(34)])[label_ids]
        assert (label == 255).sum() == ignored.sum()
        stem = f"ulm_{frame:06d}_000019"
        label_file = tmp_path / "gtFine" / "val" / "ulm" / f"{stem}_gtFine_labelIds.png"
        predicted_file = tmp_path / "results" / f"{stem}_pred.png"
        for file, values in ((label_file, label_ids), (predicted_file, ids[decided])):
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(file)
        label_files.append(str(label_file))
        predicted_files.append(str(predicted_file))
        confusion += confusion_matrix(torch.from_numpy(decided), torch.from_numpy(label), 19)

    arguments = copy.copy(referee.args)
    arguments.evalInstLevelScore = arguments.JSONOutput = False
    arguments.quiet = True
    # Its instance scores need instance files; without them it still averages their zeros.
    expected = referee.evaluateImgLists(predicted_files, label_files, arguments)

    scores = score(confusion, PROTOCOLS["cityscapes19"])
    ours = dict(zip(CITYSCAPES19.classes, iou(confusion), strict=True))
    for name, value in ours.items():
        theirs = expected["classScores"][name]
        assert (math.isnan(theirs) and math.isnan(value)) or value == theirs, name
        assert scores.per_class[name] == (None if math.isnan(theirs) else 100 * theirs), name
    assert math.isnan(ours["train"]) and ours["motorcycle"] == 0
    assert scores.miou == 100 * expected["averageScoreClasses"]
