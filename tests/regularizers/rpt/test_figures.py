"""Pictures of RPT: the heat map's scale and the order of the contact sheet."""

import numpy as np

from da_toolkit.regularizers.rpt.figures import heat_map, one_of_each


def test_red_grows_with_doubt_and_is_full_at_the_threshold():
    image = np.full((8, 8, 3), 100, np.uint8)
    plausibility = np.array([[1.0, 0.1**0.5], [0.1, 0.001]])
    shown = heat_map(image, plausibility, threshold=0.1).astype(int)
    grey, half, full = shown[0, 0], shown[0, 7], shown[7, 0]
    assert (grey == 140).all() and full.tolist() == [220, 20, 30] and (shown[7, 7] == full).all()
    np.testing.assert_allclose(half, (grey + full) / 2, atol=1)


def test_every_label_comes_before_any_second_cluster_of_one():
    sizes, labels = [5, 90, 80, 70, 1, 30], [3, 0, 0, 1, 255, 1]
    assert one_of_each(sizes, labels) == [1, 3, 0, 4, 2, 5]
