"""Finding and reading run folders, old and new, whole and damaged."""

import json
from pathlib import Path

import pytest

from da_toolkit.errors import UserError
from da_toolkit.report.runs import Run, find_runs, read_run


def names(runs) -> list[tuple[str, int]]:
    return [(run.result["recipe"], run.result["seed"]) for run in runs]


def test_runs_are_found_at_any_depth_once_and_by_seed(make_run, tmp_path) -> None:
    for seed in (10, 2):
        make_run("b", seed)
    make_run("a")
    root = tmp_path / "runs"
    runs, unfinished = find_runs([tmp_path, root / "b" / "2"])
    assert names(runs) == [("a", 0), ("b", 2), ("b", 10)] and unfinished == []
    assert names(find_runs([root / "b" / "10", root])[0]) == [("b", 10), ("a", 0), ("b", 2)]


def test_copies_of_the_tracker_are_no_runs_and_unfinished_ones_are_told(make_run, tmp_path) -> None:
    run = make_run("a")
    copy = tmp_path / "runs" / "mlartifacts" / "x" / "artifacts"
    copy.mkdir(parents=True)
    (copy / "result.json").write_text((run.folder / "result.json").read_text())
    begun = tmp_path / "runs" / "a" / "1"
    begun.mkdir()
    (begun / "recipe.json").write_text("{}")
    runs, unfinished = find_runs([tmp_path])
    assert names(runs) == [("a", 0)] and unfinished == [begun]
    with pytest.raises(UserError, match=r"no folder there holds a result\.json; 1 have begun and not ended"):
        find_runs([begun])


def test_nothing_to_compare(tmp_path) -> None:
    with pytest.raises(UserError, match=r"No finished run in .*: no folder there holds a result\.json\. Train one"):
        find_runs([tmp_path])
    with pytest.raises(UserError, match="nowhere is not a folder"):
        find_runs([tmp_path / "nowhere"])


def test_a_mistyped_folder_is_told_with_the_run_that_is_meant(make_run, tmp_path, monkeypatch) -> None:
    folder = make_run("adaptseg_gta").folder
    monkeypatch.chdir(folder.parents[2])
    runs = folder.parents[1].relative_to(Path.cwd())
    name = folder.relative_to(Path.cwd())
    with pytest.raises(UserError, match=rf"is not a folder\. Did you mean '{name}'\?"):
        find_runs([runs / "adaptsg_gta" / "0"])
    with pytest.raises(UserError, match=rf"Did you mean '{name}'\?"):
        read_run(runs / "adaptseg_gtaa" / "0")
    with pytest.raises(UserError, match=rf"Did you mean '{name.parent}'\?"):
        find_runs([runs / "adaptseg_gat"])
    for strange in (runs / "completely" / "different", runs.resolve() / "completely" / "different"):
        with pytest.raises(UserError, match=r"is not a folder\. Give the folder"):
            find_runs([strange])
    with pytest.raises(UserError, match=rf"Did you mean '{name.resolve()}'\?"):
        find_runs([runs.resolve() / "adaptsg_gta" / "0"])


def test_a_run_that_has_not_ended_is_no_correction_of_itself(make_run, tmp_path, monkeypatch) -> None:
    folder = make_run("adaptseg_gta").folder
    (folder / "recipe.json").write_text("{}")
    (folder / "result.json").unlink()
    with pytest.raises(UserError, match="has begun and not ended") as told:
        read_run(folder)
    assert "Did you mean" not in str(told.value)
    with pytest.raises(UserError, match="is not the folder of a finished run") as told:
        read_run(folder.parents[1] / "adaptseg_gtaa" / "0")
    assert "Did you mean" not in str(told.value)  # nothing finished is there


def test_one_seed_in_two_folders_is_refused(make_run, tmp_path) -> None:
    run = make_run("a")
    other = tmp_path / "again"
    other.mkdir()
    (other / "result.json").write_text((run.folder / "result.json").read_text())
    with pytest.raises(UserError, match=r"runs/a/0 and .*again both hold a, seed 0, 100 steps\. They would count"):
        find_runs([run.folder, other])
    result = json.loads((other / "result.json").read_text()) | {"steps": 5}
    (other / "result.json").write_text(json.dumps(result))
    assert len(find_runs([run.folder, other])[0]) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Expecting property name"),
        ("[]", "it holds no object"),
        ('{"recipe": "a", "method": "M", "seed": "0", "scores": {}}', "'seed' is missing or no int"),
        ('{"recipe": "a", "method": "M", "seed": 0}', "'scores' is missing"),
        ('{"recipe": "a", "method": "M", "seed": 0, "scores": {"p": {"miou": 1}}}', "'p' lack 'miou' or 'per_class'"),
        ('{"recipe": "a", "method": "M", "seed": 0, "scores": {"p": {"miou": "x", "per_class": {}}}}', "'miou' of 'p'"),
        ('{"recipe": "a", "method": "M", "seed": 0, "scores": {}, "evaluations": 3}', "'evaluations' is no list"),
    ],
)
def test_damaged_results_name_file_fault_and_remedy(text, said, tmp_path) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(UserError) as error:
        find_runs([tmp_path])
    assert str(tmp_path / "result.json") in str(error.value) and said in str(error.value)
    assert "Run the recipe again, or leave" in str(error.value)


def test_evaluations_come_in_step_order_with_what_is_known(make_run) -> None:
    run = make_run("a", evaluations=[(10, 1.0, {"entropy": 0.5, "lost": None}), (20, None, {})])
    first, second = run.evaluations
    assert (first.step, first.miou, first.validators) == (10, {"toy3": 1.0}, {"entropy": 0.5})
    assert second.miou == {"toy3": None} and second.validators == {}
    broken = Run(run.folder, run.result | {"evaluations": [{"step": 1}]})
    with pytest.raises(UserError, match=r"result\.json is damaged \(an entry of 'evaluations'"):
        _ = broken.evaluations


def test_older_runs_are_read_from_their_log(make_run) -> None:
    run = make_run("old")
    assert run.evaluations == () and run.confusions is None and run.pictures() == {}
    log = run.folder / "metrics.jsonl"
    lines = [
        {"step": 5, "seg": 1.0},
        {"step": 20, "miou_toy3": 4.0, "validator_entropy": 0.5, "miou_other": 1.0},
        {"step": 10, "miou_toy3": 3.0},
        {"step": 10, "miou_toy3": None, "validator_entropy": None},
    ]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    first, second = read_run(run.folder).evaluations
    assert (first.step, first.miou, first.validators) == (10, {"toy3": None}, {})
    assert (second.step, second.miou, second.validators) == (20, {"toy3": 4.0}, {"entropy": 0.5})
    log.write_text('{"step": 5}\n{"step": 1')
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged \(line 2"):
        _ = read_run(run.folder).evaluations


def test_pictures_need_all_three_files(make_run) -> None:
    run = make_run("a", pictures=3)
    (run.folder / "predictions" / "1_label.png").unlink()
    found = run.pictures()
    assert list(found) == [0, 2] and set(found[0]) == {"image", "label", "prediction"}
    assert all(isinstance(file, Path) and file.exists() for files in found.values() for file in files.values())


def test_damaged_pixel_counts_are_named_wherever_the_damage_is(make_run, random_counts) -> None:
    """Also within the compressed bytes, where zlib is the one to notice."""
    folder = make_run("a", counts=random_counts(0)).folder
    file = folder / "confusions.npz"
    whole, refused = file.read_bytes(), 0
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes(2) + whole[place + 2 :])
        try:
            assert read_run(folder).confusions is not None  # a byte that says nothing of the counts
        except UserError as error:
            assert "confusions.npz is damaged" in str(error)
            refused += 1
    assert refused > len(whole) / 2
