"""Tables: means and spreads, gains, the paper's own column, and what is not claimed."""

import statistics
from typing import Any

import pytest
from rich.console import Console

from da_toolkit.report.table import class_table, markdown, mean_and_spread, rich_table, summarize, terminal_tables


def result(recipe: str, method: str, seed: int, miou: float | None, **more: Any) -> dict[str, Any]:
    per_class = {"road": miou, "train": None if seed else 10.0}
    return {
        "recipe": recipe,
        "method": method,
        "seed": seed,
        "steps": 100,
        "scores": {"cityscapes19": {"miou": miou, "per_class": per_class, "pixel_accuracy": 80.0}},
        "seconds": 60.0 + seed,
        "peak_memory_mb": 1024.0 * (seed + 1),
        "reported": None,
    } | more


PAPER = {"miou": 43.8, "paper": "Vu et al., CVPR 2019", "note": "", "protocol": "cityscapes19"}
RESULTS = [
    result("source_only_gta", "SourceOnly", 0, 36.0),
    *(result("advent_gta", "AdvEnt", seed, miou, reported=PAPER) for seed, miou in enumerate((41.0, 42.0, 46.0))),
    result("oracle_gta", "Oracle", 0, 66.0),
]


def printed(*tables: object, width: int = 140) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for table in tables:
        console.print(table)
    return console.export_text()


def test_rows_are_means_with_the_sample_deviation_over_seeds() -> None:
    floor, ours, ceiling = summarize(RESULTS, "cityscapes19")
    assert [row.recipe for row in (floor, ours, ceiling)] == ["source_only_gta", "advent_gta", "oracle_gta"]
    assert (ours.seeds, ours.miou) == (3, 43.0)
    assert ours.spread == statistics.stdev([41.0, 42.0, 46.0])
    assert floor.spread is None
    assert ours.per_class == {"road": 43.0, "train": 10.0}  # train occurs in one seed only
    assert ours.seconds == 61.0 and ours.peak_memory_mb == 3072.0


def test_gain_and_share_of_the_oracle_gap() -> None:
    floor, ours, ceiling = summarize(RESULTS, "cityscapes19")
    assert (floor.gain, ours.gain, ceiling.gain) == (0.0, 7.0, 30.0)
    assert ours.gap_closed == 100 * 7 / 30
    assert (floor.gap_closed, ceiling.gap_closed) == (0.0, 100.0)


def test_no_gain_is_claimed_without_one_clear_reference() -> None:
    assert [row.gain for row in summarize(RESULTS[1:], "cityscapes19")] == [None, None]
    without_oracle = summarize(RESULTS[:-1], "cityscapes19")[1]
    assert without_oracle.gain == 7.0 and without_oracle.gap_closed is None
    two_sources = [*RESULTS, result("source_only_carla", "SourceOnly", 0, 30.0)]
    assert {row.gain for row in summarize(two_sources, "cityscapes19")} == {None}
    below = [*RESULTS[:-1], result("oracle_gta", "Oracle", 0, 36.0)]
    assert {row.gap_closed for row in summarize(below, "cityscapes19")} == {None}


def test_runs_of_other_lengths_are_not_averaged_as_seeds() -> None:
    rows = summarize([*RESULTS, result("advent_gta", "AdvEnt", 3, 20.0, steps=5)], "cityscapes19")
    assert [(row.recipe, row.seeds) for row in rows if row.method == "AdvEnt"] == [
        ("advent_gta (100 steps)", 3),
        ("advent_gta (5 steps)", 1),
    ]


def test_the_papers_number_stands_apart_and_only_under_its_protocol() -> None:
    ours = summarize(RESULTS, "cityscapes19")[1]
    assert (ours.reported, ours.paper) == (43.8, "Vu et al., CVPR 2019") and ours.miou == 43.0
    other = result("advent_gta", "AdvEnt", 0, 41.0, reported=PAPER | {"protocol": "synthia16"})
    assert summarize([other], "cityscapes19")[0].reported is None


def test_unscored_results_leave_blanks() -> None:
    rows = summarize([result("a", "x", 0, None, seconds=None, peak_memory_mb=None)], "cityscapes19")
    assert rows[0].miou is None and rows[0].spread is None and rows[0].gain is None
    assert markdown(rows).splitlines()[2] == "| a | 1 | – | – | – | – | – | – | – | 10.0 |"
    assert summarize(RESULTS, "synthia16") == [] and markdown([]) == "" and terminal_tables([], "nothing") == []


def test_markdown_has_a_line_a_recipe_and_a_column_a_class() -> None:
    lines = markdown(summarize(RESULTS, "cityscapes19")).splitlines()
    assert lines[0] == "| recipe | seeds | mIoU | gain | gap closed | paper's mIoU | time | memory | road | train |"
    assert lines[3] == (
        "| advent_gta | 3 | 43.0 ± 2.6 | +7.0 | 23 % | 43.8 (Vu et al., CVPR 2019) | 61 s | 3.0 GiB | 43.0 | 10.0 |"
    )
    assert len({line.count("|") for line in lines}) == 1


def test_terminal_tables_show_the_same_and_the_oracle_is_never_best() -> None:
    rows = summarize(RESULTS, "cityscapes19")
    text = printed(*terminal_tables(rows, "GTA5 to Cityscapes"))
    for shown in ("GTA5 to Cityscapes", "43.0 ± 2.6", "+7.0", "23 %", "43.8 (Vu et al., CVPR 2019)", "train"):
        assert shown in text
    cells = list(rich_table(rows).columns[2].cells)
    assert cells == ["36.0", "[bold]43.0 ± 2.6[/bold]", "66.0"]
    assert [list(column.cells) for column in class_table(rows).columns][2] == ["43.0", "10.0"]


@pytest.mark.parametrize(("values", "text"), [([], "–"), ([30.0], "30.0"), ([30.0, 32.0], "31.0 ± 1.4")])
def test_a_mean_has_the_sample_standard_deviation_of_several_values(values, text):
    assert mean_and_spread(values) == text
