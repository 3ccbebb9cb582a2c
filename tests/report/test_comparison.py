"""Comparisons and their documents: baselines, notes, and what each format holds."""

import csv
import io

import pytest

from da_toolkit.errors import UserError
from da_toolkit.report.comparison import compare
from da_toolkit.report.documents import DOCUMENTS
from da_toolkit.report.table import ORACLE, SOURCE_ONLY

PAPER = {"miou": 43.8, "paper": "Vu & al., CVPR 2019", "note": "", "protocol": "toy3"}
ENTROPY = [(50, 30.0, {"entropy": 0.9}), (100, 50.0, {"entropy": 0.1})]


@pytest.fixture
def runs(make_run, random_counts):
    """A source-only recipe and one of an odd name with two seeds each, and an oracle's run."""
    known = {"evaluations": ENTROPY, "reported": PAPER}
    return [
        make_run("oracle", 0, ORACLE, counts=random_counts(9)),
        *(make_run("odd_<i>&|", seed, counts=random_counts(seed), **known) for seed in (0, 1)),
        *(make_run("source_only", seed, SOURCE_ONLY, counts=random_counts(4 + seed)) for seed in (0, 1)),
    ]


def test_rows_stand_from_source_only_to_oracle_with_intervals_against_the_first(runs) -> None:
    (found,) = compare(runs)
    assert [row.recipe for row in found.rows] == ["source_only", "odd_<i>&|", "oracle"]
    assert found.baseline == "source_only" and set(found.differences) == {"odd_<i>&|", "oracle"}
    assert found.scores().heads[:4] == ("recipe", "seeds", "mIoU", "vs. source_only [95 %]")
    assert found.scores().lines[0][3] == "–" and found.scores().lines[1][3] == str(found.differences["odd_<i>&|"])
    assert "5000 draws, with replacement, of the 12 validation images. Seeds are not resampled." in found.notes[0]
    assert found.notes[-1].startswith("oracle: its difference to source_only is over the seeds that both have (0)")


def test_choices_of_each_run_and_their_means(runs) -> None:
    (found,) = compare(runs)
    ways = ("run", "last step", "entropy", "oracle: uses target labels")
    assert found.choices().heads == ways
    assert found.choices().lines[0] == ("odd_<i>&|, seed 0", "50.0 @ 100", "30.0 @ 50", "50.0 @ 100")
    assert found.choosing().lines[1] == ("entropy", "2", "30.0", "-20.0", "–", "-1.00 (4)")


def test_without_evaluations_nothing_is_said_about_choosing(make_run) -> None:
    (found,) = compare([make_run("a")])
    assert found.choosing() is None and found.choices() is None and found.baseline is None
    assert found.notes == ("No differences with intervals: there are no source-only rows; name one by --baseline.",)


def test_one_evaluation_of_two_runs_leaves_no_table_of_dashes(make_run) -> None:
    (found,) = compare([make_run("a", evaluations=ENTROPY[:1]), make_run("b", evaluations=ENTROPY[1:])])
    assert found.choosing() is None


def test_runs_that_were_scored_at_their_end_alone_get_a_note_for_the_table(make_run) -> None:
    """Also where there are enough of them for a rank correlation, which alone would stand in a line of dashes."""
    ends = [(100, miou, {"entropy": certainty}) for miou, certainty in ((30.0, 0.2), (40.0, 0.5), (50.0, 0.4))]
    (found,) = compare([make_run(name, evaluations=[end]) for name, end in zip("abc", ends, strict=True)])
    assert next(way for way in found.choosers if way.name == "entropy").correlation_final == pytest.approx(0.5)
    assert found.choosing() is None
    assert any("no run was scored on its way (--evaluation.every)" in note for note in found.notes)
    for kind in ("html", "markdown", "latex"):
        written = DOCUMENTS[kind]([found])
        assert "rank corr" not in written and "no run was scored on its way" in written


def test_baseline_by_name_and_none_that_is_not_clear(make_run, runs) -> None:
    (found,) = compare(runs, baseline="oracle")
    assert found.baseline == "oracle" and set(found.differences) == {"source_only", "odd_<i>&|"}
    two = [*runs, make_run("source_only_carla", 0, SOURCE_ONLY)]
    (found,) = compare(two)
    assert found.baseline is None and found.differences == {}
    assert "there are 2 source-only rows (source_only, source_only_carla)" in found.notes[-1]
    with pytest.raises(UserError, match=r"Unknown baseline \(--baseline\) 'orcle'\. Did you mean 'oracle'\?"):
        compare(runs, baseline="orcle")
    lengths = [make_run("a", seed, steps=10 + seed) for seed in (0, 1)]
    (found,) = compare(lengths, baseline="a (11 steps)")
    assert found.baseline == "a (11 steps)"
    with pytest.raises(UserError, match=r"Valid names: a \(10 steps\), a \(11 steps\)"):
        compare(lengths, baseline="a")


def test_protocols_are_apart_and_unknown_ones_refused(make_run) -> None:
    pair = [make_run("a"), make_run("b", protocol="other")]
    first, second = compare(pair)
    assert (first.protocol, [r.recipe for r in first.rows]) == ("toy3", ["a"])
    assert (second.protocol, [r.recipe for r in second.rows]) == ("other", ["b"])
    assert first.notes[0] == "Not scored under toy3 and left out: b, seed 0, 100 steps."
    assert [found.protocol for found in compare(pair, "other")] == ["other"]
    with pytest.raises(UserError, match=r"--protocol\) of these runs 'toy'. Did you mean 'toy3'\?"):
        compare(pair, "toy")


def test_seeds_with_other_settings_are_told(make_run) -> None:
    pair = [make_run("a", seed) for seed in (0, 1)]
    for run, rate in zip(pair, (1, 2), strict=True):
        (run.folder / "recipe.json").write_text(f'{{"optimizer": {{"lr": {rate}}}, "model": 1}}')
    (found,) = compare(pair)
    assert found.notes[0].startswith("a: its seeds differ in settings") and found.notes[0].endswith(": optimizer.")


def test_runs_of_other_budgets_or_images_are_told(make_run, random_counts) -> None:
    counts = random_counts(0)
    alike = [make_run(name, counts=counts) for name in "abcdefgh"]
    (found,) = compare(alike)
    assert not any("Runs differ" in note for note in found.notes)
    (found,) = compare([*alike, make_run("few", counts=counts[:7], steps=400)])
    steps, images = found.notes[:2]
    assert "training steps" in steps and steps.endswith(
        "100 (a, seed 0, 100 steps; b, seed 0, 100 steps; and 6 more); 400 (few, seed 0, 400 steps)."
    )
    assert "validation images" in images and "12 images (a" in images and "7 images (few" in images


def test_runs_of_other_precision_are_told(make_run) -> None:
    pair = [make_run("a"), make_run("b")]
    for run, precision in zip(pair, ("32-true", "bf16-mixed"), strict=True):
        run.result["precision"] = precision
    (found,) = compare(pair)
    assert found.notes[0].startswith("Runs differ in precision")
    assert "32-true (a" in found.notes[0] and "bf16-mixed (b" in found.notes[0]


def test_as_many_other_images_are_told_too(make_run, random_counts) -> None:
    counts, others = random_counts(0), [f"other_{number}" for number in range(12)]
    (found,) = compare([make_run("a", counts=counts), make_run("b", counts=counts, keys=others)])
    assert "Runs differ in validation images" in found.notes[0]


@pytest.mark.parametrize("format", sorted(DOCUMENTS))
def test_every_format_holds_the_scores_and_never_mixes_in_the_papers_number(runs, format) -> None:
    found = compare(runs)
    text = DOCUMENTS[format](found)
    shown = {"markdown": r"odd_&lt;i>&\|", "csv": "odd_<i>&|", "latex": r"odd\_\textless{}i\textgreater{}\&\textbar{}"}
    assert shown.get(format, "odd_&lt;i&gt;&amp;|") in text
    row = found[0].rows[1]
    assert row.reported == 43.8 and row.miou != 43.8 and "CVPR 2019" in text
    if format != "csv":
        assert f"{row.miou:.1f} " in text and "oracle: uses target labels" in text


def test_csv_has_unrounded_numbers_and_blanks_for_the_unknown(runs) -> None:
    (found,) = compare(runs)
    lines = list(csv.DictReader(io.StringIO(DOCUMENTS["csv"]([found]))))
    assert [line["recipe"] for line in lines] == ["source_only", "odd_<i>&|", "oracle"]
    row, paired = found.rows[1], found.differences["odd_<i>&|"]
    assert float(lines[1]["miou"]) == row.miou and float(lines[1]["miou_sample_std"]) == row.spread
    assert float(lines[1]["difference_low"]) == paired.low and lines[1]["difference_seeds"] == "0, 1"
    assert float(lines[1]["iou car"]) == row.per_class["car"] and lines[1]["paper_miou"] == "43.8"
    assert lines[2]["miou_sample_std"] == "" and lines[0]["difference"] == "" and lines[0]["paper_miou"] == ""
