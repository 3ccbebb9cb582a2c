import numpy as np
from PIL import Image

from da_toolkit.data import CamVid
from da_toolkit.data.check import check_split


def make(tmp_path):
    for folder, array in (("val", np.full((4, 6, 3), 9)), ("valannot", np.full((4, 6), 3))):
        (tmp_path / folder).mkdir(parents=True)
        for name in "abc":
            Image.fromarray(array.astype(np.uint8)).save(tmp_path / folder / f"{name}.png")
    return CamVid(root=tmp_path)


def test_counts_pixels_and_sizes(tmp_path):
    report = check_split(make(tmp_path).build("val"))
    assert report.images == 3 and report.sizes == {(4, 6): 3} and not report.problems
    assert report.pixels["road"] == 72 and report.pixels["sky"] == 0
    assert any("never occurs" in line for line in report.lines())


def test_collects_every_problem_instead_of_stopping(tmp_path):
    domain = make(tmp_path)
    (tmp_path / "val" / "a.png").write_bytes(b"no image")
    Image.fromarray(np.full((4, 6), 99, np.uint8)).save(tmp_path / "valannot" / "b.png")
    report = check_split(domain.build("val"))
    assert any("a.png cannot be read" in problem for problem in report.problems)
    assert any("b.png holds id 99" in problem for problem in report.problems)
    assert report.pixels["road"] == 24


def test_unasked_labels_are_not_opened(tmp_path):
    domain = make(tmp_path)
    Image.fromarray(np.full((4, 6), 99, np.uint8)).save(tmp_path / "valannot" / "b.png")
    report = check_split(domain.build("val"), with_labels=False)
    assert not report.problems and not report.pixels
