"""Paired intervals against a plain loop, and what keeps runs from being paired."""

import math
import re
import statistics

import numpy as np
import pytest
import torch

from da_toolkit.errors import UserError
from da_toolkit.evaluation.metrics import iou
from da_toolkit.evaluation.protocols import PROTOCOLS, score
from da_toolkit.report import paired
from da_toolkit.report.bootstrap import draw_images, resampled_miou
from da_toolkit.report.paired import paired_differences, scored_ids


def slow_miou(counts: np.ndarray, images: list[int], scored: list[int]) -> float:
    """One draw, image by image, through the metric that scores runs."""
    whole = np.zeros(counts.shape[1:], dtype=np.int64)
    for image in images:
        whole += counts[image]
    found = [value for value in iou(torch.from_numpy(whole))[scored] if not math.isnan(value)]
    return 100 * sum(found) / len(found) if found else math.nan


def images_of(draw: np.ndarray) -> list[int]:
    return [image for image, times in enumerate(draw) for _ in range(int(times))]


def test_draws_are_with_replacement_and_the_same_each_time() -> None:
    draws = draw_images(7, resamples=50)
    chosen = np.random.default_rng(0).integers(7, size=(50, 7))
    for draw, images in zip(draws, chosen, strict=True):
        assert images_of(draw) == sorted(images)
    np.testing.assert_array_equal(draws, draw_images(7, resamples=50))


@pytest.mark.parametrize("scored", [[0, 1, 2], [0, 2]])
def test_resampled_scores_equal_a_loop_over_images(random_counts, scored) -> None:
    counts, draws = random_counts(3), draw_images(12, resamples=60)
    expected = [slow_miou(counts, images_of(draw), scored) for draw in draws]
    np.testing.assert_allclose(resampled_miou(counts, draws, scored), expected, rtol=1e-12)


def test_a_draw_without_labelled_pixels_has_no_score() -> None:
    assert np.isnan(resampled_miou(np.zeros((2, 3, 3), dtype=np.int64), np.ones((4, 2)), [0, 1])).all()


def test_interval_equals_a_loop_over_draws_and_seeds(make_run, random_counts, monkeypatch) -> None:
    monkeypatch.setattr(paired, "draw_images", lambda images: draw_images(images, resamples=200))
    ours = [make_run("ours", seed, counts=random_counts(seed)) for seed in range(3)]
    base = [make_run("base", seed, counts=random_counts(10 + seed)) for seed in range(3)]
    found, reasons = paired_differences({"base": base, "ours": ours}, "base", "toy3")

    def difference(images: list[int]) -> float:
        scores = [[slow_miou(random_counts(seed + more), images, [0, 1, 2]) for seed in range(3)] for more in (0, 10)]
        return statistics.mean(scores[0]) - statistics.mean(scores[1])

    # The draws are of images in the order of their names: image_0, image_1, image_10, image_11, image_2, ...
    order = sorted(range(12), key=lambda number: f"image_{number}")
    chosen = np.random.default_rng(0).integers(12, size=(200, 12))
    loop = [difference([order[place] for place in places]) for places in chosen]
    assert list(found) == ["ours"] and reasons == []
    assert (found["ours"].low, found["ours"].high) == pytest.approx(tuple(np.quantile(loop, [0.025, 0.975])), rel=1e-9)
    assert found["ours"].difference == pytest.approx(difference(list(range(12))), rel=1e-9)
    assert found["ours"].seeds == (0, 1, 2) and found["ours"].images == 12


def test_the_order_in_which_runs_list_their_images_does_not_matter(make_run, random_counts) -> None:
    counts, base = random_counts(1), make_run("base", counts=random_counts(2))
    shuffled = np.random.default_rng(0).permutation(12)
    keys = [f"image_{number}" for number in shuffled]
    groups = {
        "base": [base],
        "plain": [make_run("plain", counts=counts)],
        "shuffled": [make_run("shuffled", counts=counts[shuffled], keys=keys)],
    }
    found, _ = paired_differences(groups, "base", "toy3")
    assert found["plain"] == found["shuffled"]


def test_equal_runs_differ_by_nothing(make_run, random_counts) -> None:
    groups = {name: [make_run(name, counts=random_counts(1))] for name in ("base", "ours")}
    found, _ = paired_differences(groups, "base", "toy3")
    assert str(found["ours"]) == "+0.0 [+0.0, +0.0]"


def test_only_seeds_that_both_have_are_paired_and_it_is_told(make_run, random_counts) -> None:
    base = [make_run("base", seed, counts=random_counts(seed)) for seed in (0, 1)]
    ours = [make_run("ours", seed, counts=random_counts(5 + seed)) for seed in (1, 2)]
    found, reasons = paired_differences({"ours": ours, "base": base}, "base", "toy3")
    assert found["ours"].seeds == (1,)
    assert reasons == ["ours: its difference to base is over the seeds that both have (1), without 0, 2."]


def test_runs_that_cannot_be_paired_say_why(make_run, random_counts) -> None:
    base = make_run("base", counts=random_counts(0))
    groups = {
        "base": [base],
        "old": [make_run("old")],
        "other": [make_run("other", counts=random_counts(1), keys=[f"image_{n}" for n in range(5, 17)])],
        "seed": [make_run("seed", 3, counts=random_counts(1))],
        "stale": [make_run("stale", counts=random_counts(1))],
    }
    groups["stale"][0].result["scores"]["toy3"]["miou"] += 1
    found, reasons = paired_differences(groups, "base", "toy3")
    assert found == {}
    for said in (
        "old has no interval: .*old/0 has no confusions.npz",
        r"other has no interval: different validation images \(.*base/0 has 12, .*other/0 has 12, and 7 are in both\)",
        "seed has no interval: no seed in common with base",
        "stale has no interval: .*confusions.npz gives mIoU .* but its result.json",
    ):
        assert any(re.match(said, reason) for reason in reasons), (said, reasons)
    assert len(reasons) == 4


def test_a_single_image_is_not_resampled(make_run) -> None:
    one = np.ones((1, 3, 3), dtype=np.int64)
    groups = {name: [make_run(name, counts=one)] for name in ("base", "ours")}
    assert paired_differences(groups, "base", "toy3") == (
        {},
        ["ours has no interval: fewer than two validation images cannot be resampled."],
    )


def test_intervals_of_categories_are_those_of_merged_counts(make_run) -> None:
    random = np.random.default_rng(5)
    groups, plain = {}, {}
    for name in ("base", "ours"):
        fine = random.integers(0, 9, (6, 11, 11))
        into = np.array([0, 0, 1, 1, 1, 2, 2, 3, 4, 5, 6])
        coarse = np.zeros((6, 7, 7), np.int64)
        for row in range(11):
            for column in range(11):
                coarse[:, into[row], into[column]] += fine[:, row, column]
        scores = score(torch.from_numpy(coarse.sum(0)), PROTOCOLS["cityscapes7"]).to_json()
        for chosen, counts, protocol in ((groups, fine, "streets7"), (plain, coarse, "cityscapes7")):
            run = make_run(f"{name}_{protocol}", counts=counts)
            run.result["scores"] = {protocol: scores}
            chosen[name] = [run]
    merged, reasons = paired_differences(groups, "base", "streets7")
    assert reasons == [] and merged == paired_differences(plain, "base", "cityscapes7")[0]
    assert merged["ours"].low < merged["ours"].high


def test_damaged_counts_name_their_file(make_run, random_counts) -> None:
    run = make_run("base", counts=random_counts(0))
    (run.folder / "confusions.npz").write_bytes(b"PK not a zip")
    with pytest.raises(UserError, match=r"base/0/confusions\.npz is damaged"):
        _ = run.confusions


def test_scored_classes_are_found_in_the_label_space() -> None:
    assert scored_ids(["a", "b"], 2) == [0, 1]
    assert scored_ids(["road", "sky"], 16) == [0, 9]
    assert scored_ids(["road", "moon"], 16) is None and scored_ids(["road"], 5) is None
