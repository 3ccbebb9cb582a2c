"""Protocols: which classes are averaged, and from which matrix."""

import json

import numpy as np
import pytest
import torch

from da_toolkit.data.labels import CAMVID11, CITYSCAPES7, CITYSCAPES19, STREETS11, SYNTHIA16, LabelSpace
from da_toolkit.errors import UserError
from da_toolkit.evaluation.metrics import iou, merged
from da_toolkit.evaluation.protocols import PROTOCOLS, protocol, protocols_for, score


def random_matrix(classes: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(1, 1000, (classes, classes)))


def test_the_named_protocols_score_the_published_numbers_of_classes() -> None:
    assert {name: len(p.scored) for name, p in PROTOCOLS.items()} == {
        "cityscapes19": 19,
        "synthia16": 16,
        "synthia13": 13,
        "camvid10": 10,
        "camvid11": 11,
        "streets11": 11,
        "streets8": 8,
        "streets7": 7,
        "cityscapes7": 7,
    }
    assert set(SYNTHIA16.classes) - set(PROTOCOLS["synthia13"].scored) == {"wall", "fence", "pole"}
    assert set(CAMVID11.classes) - set(PROTOCOLS["camvid10"].scored) == {"bicyclist"}


def test_the_13_class_score_is_read_from_the_16_class_matrix() -> None:
    confusion = random_matrix(16)
    scores = score(confusion, PROTOCOLS["synthia13"])
    kept = [SYNTHIA16.classes.index(name) for name in scores.per_class]
    assert scores.miou == pytest.approx(100 * iou(confusion)[kept].mean(), rel=1e-12)
    # Not the score of a 13-class matrix: road pixels predicted as wall stay errors.
    assert scores.miou < 100 * iou(confusion[kept][:, kept]).mean()


def test_absent_classes_are_left_out_of_the_mean_and_none_in_json() -> None:
    confusion = torch.zeros(19, 19, dtype=torch.int64)
    confusion[0, 0], confusion[0, 1] = 3, 1
    scores = score(confusion, PROTOCOLS["cityscapes19"])
    assert scores.miou == 37.5  # road 75, sidewalk 0, the others absent
    assert scores.per_class["road"] == 75 and scores.per_class["sidewalk"] == 0 and scores.per_class["sky"] is None
    assert scores.pixel_accuracy == 75
    assert json.loads(json.dumps(scores.to_json(), allow_nan=False)) == scores.to_json()


def test_a_split_without_any_labelled_pixel_has_no_score() -> None:
    scores = score(torch.zeros(19, 19, dtype=torch.int64), PROTOCOLS["cityscapes19"]).to_json()
    assert scores["miou"] is None and scores["pixel_accuracy"] is None
    json.dumps(scores, allow_nan=False)


def test_protocols_of_a_label_space() -> None:
    assert [p.name for p in protocols_for(CITYSCAPES19)] == ["cityscapes19"]
    assert [p.name for p in protocols_for(SYNTHIA16)] == ["synthia16", "synthia13"]
    own = LabelSpace("farm", ("soil", "crop"), ((1, 2, 3), (4, 5, 6)))
    (whole,) = protocols_for(own)
    assert (whole.name, whole.scored) == ("farm", ("soil", "crop"))


def test_unknown_names_and_wrong_matrices_are_refused() -> None:
    with pytest.raises(UserError, match="Did you mean 'synthia13'"):
        protocol("sythia13")
    with pytest.raises(ValueError, match=r"synthia13 reads a 16-class matrix, got \(19, 19\)"):
        score(random_matrix(19), PROTOCOLS["synthia13"])


def test_the_streets_protocols_leave_out_or_merge() -> None:
    assert [p.name for p in protocols_for(STREETS11)] == ["streets11", "streets8", "streets7"]
    assert set(STREETS11.classes) - set(PROTOCOLS["streets8"].scored) == {"wall", "sign", "fence"}
    assert PROTOCOLS["streets7"].scored == CITYSCAPES7.classes


def test_categories_are_scored_as_if_labels_and_predictions_had_been_categories() -> None:
    random = np.random.default_rng(3)
    label, prediction = random.integers(0, 11, (2, 5000))
    fine = np.zeros((11, 11), np.int64)
    np.add.at(fine, (label, prediction), 1)
    category = np.array([CITYSCAPES7.place(name) for name in STREETS11.classes])
    coarse = np.zeros((7, 7), np.int64)
    np.add.at(coarse, (category[label], category[prediction]), 1)
    scores = score(torch.from_numpy(fine), PROTOCOLS["streets7"])
    expected = score(torch.from_numpy(coarse), PROTOCOLS["cityscapes7"])
    assert scores.per_class == expected.per_class and scores.miou == expected.miou
    assert (
        scores.pixel_accuracy
        == expected.pixel_accuracy
        > score(torch.from_numpy(fine), PROTOCOLS["streets11"]).pixel_accuracy
    )


def test_merging_keeps_leading_dimensions_and_refuses_half_groupings() -> None:
    counts = torch.arange(2 * 9).reshape(2, 3, 3)
    assert merged(counts, [[2, 0], [1]]).tolist() == [
        [[0 + 2 + 6 + 8, 1 + 7], [3 + 5, 4]],
        [[9 + 11 + 15 + 17, 26], [26, 13]],
    ]
    for groups in ([[0, 1]], [[0, 1], [1, 2]], [[0, 1, 2, 3]]):
        with pytest.raises(ValueError, match="each of 3 classes once"):
            merged(counts, groups)


def test_an_own_space_with_a_built_in_ones_classes_is_scored_by_its_protocols() -> None:
    own = LabelSpace("mine", STREETS11.classes)
    assert [p.name for p in protocols_for(own)] == ["streets11", "streets8", "streets7"]
