"""A checkpoint is whole or absent, proves itself, and falls back to the one before."""

import pickle

import pytest
import torch

from da_toolkit.errors import UserError
from da_toolkit.runs.checkpoint import Checkpoints

CPU = torch.device("cpu")


@pytest.fixture
def kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
    for step in (2, 10, 100):
        checkpoints.save(step, {"done": step, "weights": torch.arange(step)})
    return checkpoints


def test_the_last_ones_are_kept_and_the_newest_is_loaded(kept):
    assert [file.name.split("-")[0] for file in kept.files()] == ["step_00000100", "step_00000010"]
    assert kept.load(CPU)["done"] == 100
    assert len(list(kept.folder.iterdir())) == 2


@pytest.mark.parametrize("harm", ["flip", "cut", "empty"])
def test_a_damaged_newest_one_gives_way_to_the_one_before(kept, harm, capsys):
    newest = kept.files()[0]
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1  # torch alone does not notice a changed weight
    newest.write_bytes({"flip": bytes(data), "cut": bytes(data[:-9]), "empty": b""}[harm])
    assert kept.load(CPU)["done"] == 10
    assert f"{newest} is damaged" in capsys.readouterr().err
    kept.keep = 1
    kept.save(11, {"done": 11})
    assert kept.load(CPU)["done"] == 11  # the damaged one is not in the way of newer ones


def test_without_a_whole_one_the_remedy_is_said(kept, tmp_path):
    for file in kept.files():
        file.write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match=r"step_00000010-.* is damaged .* no other one is left.*--overwrite"):
        kept.load(CPU)
    with pytest.raises(UserError, match="no checkpoint in"):
        Checkpoints(tmp_path / "nowhere").load(CPU)


def test_one_of_another_version_is_refused_and_kept(kept, monkeypatch):
    monkeypatch.setattr("da_toolkit.runs.checkpoint.FORMAT", 1)
    kept.save(101, {"done": 101})
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"step_00000101-.* was written by another version.*--overwrite"):
        kept.load(CPU)
    assert len(kept.files()) == 2


def test_the_same_step_again_replaces_its_file(kept):
    kept.save(100, {"done": 100, "second": True})
    assert kept.load(CPU)["second"] and len(kept.files()) == 2


def test_a_left_over_unfinished_file_is_not_a_checkpoint(kept):
    (kept.folder / "unfinished.tmp").write_bytes(b"half")
    assert kept.load(CPU)["done"] == 100


class Attack:
    """Unpickled without care it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_checkpoint_cannot_run_code(tmp_path):
    import hashlib

    from da_toolkit.runs.checkpoint import _write

    folder = tmp_path / "checkpoints"
    folder.mkdir()
    digest = _write(folder / "evil", {"done": Attack(tmp_path / "attacked")})
    (folder / "evil").rename(folder / f"step_00000001-{digest}.pt")
    with pytest.raises(UserError, match="is damaged"):
        Checkpoints(folder).load(CPU)
    raw = pickle.dumps(Attack(tmp_path / "attacked"))
    (folder / f"step_00000002-{hashlib.sha256(raw).hexdigest()[:16]}.pt").write_bytes(raw)
    with pytest.raises(UserError, match="is damaged"):
        Checkpoints(folder).load(CPU)
    assert not (tmp_path / "attacked").exists()


def test_a_full_disk_keeps_the_previous_one(kept, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    before = [file.read_bytes() for file in kept.files()]
    with pytest.raises(UserError, match=r"no space is left.*The previous checkpoint is intact"):
        kept.save(200, {"done": 200})
    assert [file.read_bytes() for file in kept.files()] == before and len(list(kept.folder.iterdir())) == 2
