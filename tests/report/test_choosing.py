"""Choosing a step without labels: picks, means over runs, and Spearman against ranks by hand."""

import pytest

from da_toolkit.report.choosing import LAST, ORACLE_CHOICE, Choice, choices, choosers, spearman
from da_toolkit.report.runs import Evaluation


def run(*entries: tuple[int, float | None, dict[str, float]]) -> tuple[Evaluation, ...]:
    return tuple(Evaluation(step, {"p": miou}, validators) for step, miou, validators in entries)


FIRST = run((10, 30.0, {"entropy": 0.2, "teacher": 5.0}), (20, 42.0, {"entropy": 0.9, "teacher": 5.0}),
            (30, 40.0, {"entropy": 0.4, "teacher": 4.0}))  # fmt: skip
SECOND = run((10, 20.0, {"entropy": 0.8}), (20, 25.0, {"entropy": 0.1, "teacher": 2.0}))


def by_hand(pairs: list[tuple[float, float]]) -> float:
    """Pearson's correlation of mean ranks, counted one by one."""

    def ranks(values: list[float]) -> list[float]:
        return [sum(v < x for v in values) + (sum(v == x for v in values) + 1) / 2 for x in values]

    x, y = ranks([a for a, _ in pairs]), ranks([b for _, b in pairs])
    middle = (len(pairs) + 1) / 2
    over = sum((a - middle) * (b - middle) for a, b in zip(x, y, strict=True))
    under = sum((a - middle) ** 2 for a in x) * sum((b - middle) ** 2 for b in y)
    return over / under**0.5


def test_each_way_of_choosing_picks_its_highest_and_ties_go_to_the_earlier_step() -> None:
    assert choices(FIRST, "p", ["entropy", "teacher"]) == {
        LAST: Choice(30, 40.0),
        "entropy": Choice(20, 42.0),
        "teacher": Choice(10, 30.0),
        ORACLE_CHOICE: Choice(20, 42.0),
    }


def test_a_validator_that_an_evaluation_lacks_picks_nothing() -> None:
    assert set(choices(SECOND, "p", ["entropy", "teacher"])) == {LAST, "entropy", ORACLE_CHOICE}


def test_one_evaluation_or_unknown_scores_leave_nothing_to_choose() -> None:
    assert choices(FIRST[:1], "p", ["entropy"]) == {} == choices(FIRST, "other", ["entropy"])
    unscored = run((10, None, {"entropy": 9.0}), (20, 1.0, {"entropy": 0.1}), (30, 2.0, {"entropy": 0.2}))
    assert choices(unscored, "p", ["entropy"])["entropy"] == Choice(30, 2.0)


def test_means_are_over_the_runs_that_can_be_chosen_from() -> None:
    found = {chooser.name: chooser for chooser in choosers([FIRST, SECOND, FIRST[:1], ()], "p")}
    assert list(found) == [LAST, "entropy", "teacher", ORACLE_CHOICE]
    assert (found[LAST].runs, found[LAST].miou, found[LAST].above_last) == (2, 32.5, 0.0)
    assert (found["entropy"].runs, found["entropy"].miou, found["entropy"].above_last) == (2, 31.0, -1.5)
    assert (found["teacher"].runs, found["teacher"].miou, found["teacher"].above_last) == (1, 30.0, -10.0)
    assert (found[ORACLE_CHOICE].miou, found[ORACLE_CHOICE].above_last) == (33.5, 1.0)


def test_correlations_are_over_final_and_over_all_evaluations() -> None:
    found = {chooser.name: chooser for chooser in choosers([FIRST, SECOND, FIRST[:1]], "p")}
    final = [(0.4, 40.0), (0.1, 25.0), (0.2, 30.0)]
    everything = [(0.2, 30.0), (0.9, 42.0), (0.4, 40.0), (0.8, 20.0), (0.1, 25.0), (0.2, 30.0)]
    entropy = found["entropy"]
    assert (entropy.final, entropy.all) == (3, 6)
    assert entropy.correlation_final == pytest.approx(by_hand(final)) == 1.0
    assert entropy.correlation_all == pytest.approx(by_hand(everything))
    assert found[LAST].correlation_all is None and found[ORACLE_CHOICE].correlation_final is None


def test_spearman_equals_ranks_by_hand_and_is_unknown_where_undefined() -> None:
    pairs = [(1.0, 3.0), (1.0, 2.0), (4.0, 9.0), (2.0, 2.0), (8.0, 4.0), (2.5, -1.0)]
    assert spearman(pairs) == pytest.approx(by_hand(pairs), rel=1e-12)
    assert spearman(pairs[:2]) is None
    assert spearman([(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]) is None
