"""What a run's data are: keys and sizes in order, and how a difference is told."""

import os
import time

import pytest

from da_toolkit.data.encodings import RawClasses
from da_toolkit.data.files import FileDomainData, Pair
from da_toolkit.data.identity import Identity, differences, identity_of
from da_toolkit.data.labels import CITYSCAPES19

CLASSES = RawClasses({number: name for number, name in enumerate(CITYSCAPES19.classes)})


@pytest.fixture
def files(tmp_path):
    """Function: a domain of empty-headed files; their contents are never looked at."""

    def make(folder, names):
        (tmp_path / folder).mkdir(exist_ok=True)
        pairs = []
        for place, name in enumerate(names):
            image, label = tmp_path / folder / f"{name}.png", tmp_path / folder / f"{name}_ids.png"
            image.write_bytes(bytes(100 + place))
            label.write_bytes(bytes(10))
            pairs.append(Pair(name, image, label))
        return FileDomainData("Files", "train", pairs, CLASSES, CITYSCAPES19)

    return make


def test_images_of_files_are_their_keys_and_sizes_and_labels_where_they_are_read(files):
    data = files("here", ("a", "b"))
    data.pairs[1].label.unlink()
    found = identity_of({"source": (data, True), "target": (data, False)})
    assert found.to_json() == {"source": [["a", 100, 10], ["b", 101, None]], "target": [["a", 100], ["b", 101]]}
    assert Identity.from_json(found.to_json()) == found


def test_a_copy_elsewhere_and_later_is_the_same_data(files):
    one, other = files("here", ("a", "b")), files("there", ("a", "b"))
    os.utime(other.pairs[0].image, (0, 0))
    assert identity_of({"target": (one, True)}).digest == identity_of({"target": (other, True)}).digest


def test_images_without_files_are_their_keys(toy):
    assert identity_of({"source": (toy(2), True)}).to_json() == {"source": [["toy_0"], ["toy_1"]]}


BEFORE = [("a", 5), ("b", 5), ("c", 5), ("d", 5)]


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ([*BEFORE, ("e", 5)], "4 images then, 5 now: 1 added (e)"),
        (BEFORE[1:], "4 images then, 3 now: 1 removed (a)"),
        ([], "4 images then, 0 now: 4 removed (a, b, c, ...)"),
        ([("a", 5), ("b", 6), *BEFORE[2:]], "4 images then, 4 now: 1 with files of other sizes (b)"),
        ([("a", None), *BEFORE[1:]], "4 images then, 4 now: 1 with files of other sizes (a)"),
        (
            [("z", 5), ("b", 7), *BEFORE[2:]],
            "4 images then, 4 now: 1 added (z); 1 removed (a); 1 with files of other sizes (b)",
        ),
        (BEFORE[::-1], "4 images then, 4 now: the same ones in another order"),
        ([*BEFORE, ("d", 5)], "4 images then, 5 now: 1 added (d)"),
    ],
)
def test_a_difference_is_told_by_kind_count_and_first_names(now, told):
    before, after = (Identity({"source": BEFORE, "target": entries}) for entries in (BEFORE, now))
    assert differences(before, after) == {"target": told} and differences(before, before) == {}
    assert before.digest != after.digest and len(after.digest) == 16


@pytest.mark.parametrize(
    "tree", [None, [], 3, {"a": 3}, {"a": [3]}, {"a": ["name"]}, {"a": [[]]}, {"a": [["k", "5"]]}, {"a": [[1, 5]]}]
)
def test_what_is_no_list_of_images_is_a_value_error(tree):
    with pytest.raises(ValueError, match=r"is no key with sizes|no list of images|not enough values"):
        Identity.from_json(tree)


def test_twenty_five_thousand_images_take_a_second_or_two(files):
    data = files("here", ("a",))
    data.pairs = [Pair(f"{number:05d}", data.pairs[0].image, data.pairs[0].label) for number in range(25_000)]
    begin = time.process_time()
    found = identity_of({"source": (data, True)})
    assert len(found.digest) == 16 and time.process_time() - begin < 8
