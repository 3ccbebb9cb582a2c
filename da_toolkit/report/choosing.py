"""Choosing a step of a run without target labels, and how well each way of choosing does."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from da_toolkit.report.runs import Evaluation

WRONG_WAY, ENOUGH = -0.3, 8
"""Rank correlation at which a validator is said to mislead, and the evaluations that it must be known for."""

LAST = "last step"
ORACLE_CHOICE = "oracle: uses target labels"


@dataclass(frozen=True)
class Choice:
    """An evaluation that was picked, and its mIoU in percent."""

    step: int
    miou: float


@dataclass(frozen=True)
class Chooser:
    """How one way of choosing does over runs; none stands for unknown."""

    name: str
    runs: int
    """With at least two evaluations, for which the way of choosing is known."""
    miou: float | None
    """Mean over these runs of what was picked."""
    above_last: float | None
    """Mean over these runs of what was picked less the last step's."""
    correlation_final: float | None
    """Spearman's rank correlation with mIoU over the runs' final evaluations."""
    final: int
    """Runs in that correlation."""
    correlation_all: float | None
    """The same over all evaluations of all runs."""
    all: int


def validator_names(runs: Sequence[Sequence[Evaluation]]) -> list[str]:
    """Every validator that any evaluation knows."""
    return list(dict.fromkeys(name for run in runs for evaluation in run for name in evaluation.validators))


def choices(evaluations: Sequence[Evaluation], protocol: str, validators: Sequence[str]) -> dict[str, Choice]:
    """What each way of choosing picks in one run: the last step, each validator's highest, the highest mIoU.

    Ties go to the earlier step. A validator that some evaluation of the run lacks picks nothing. Empty for a run with
    fewer than two evaluations, which leaves nothing to choose.
    """
    scored = [(e, miou) for e in evaluations if (miou := e.miou.get(protocol)) is not None]
    if len(scored) < 2:
        return {}
    picked = {LAST: scored[-1]}
    for name in validators:
        if all(name in evaluation.validators for evaluation, _ in scored):
            picked[name] = max(scored, key=lambda pair: pair[0].validators[name])
    picked[ORACLE_CHOICE] = max(scored, key=lambda pair: pair[1])
    return {name: Choice(evaluation.step, miou) for name, (evaluation, miou) in picked.items()}


def choosers(runs: Sequence[Sequence[Evaluation]], protocol: str) -> list[Chooser]:
    """Every way of choosing over all runs: the last step first, the oracle last."""
    validators = validator_names(runs)
    picked = [choices(run, protocol, validators) for run in runs]
    finals = [run[-1] for run in runs if run]
    everything = [evaluation for run in runs for evaluation in run]
    found = []
    for name in (LAST, *validators, ORACLE_CHOICE):
        pairs = [(of[name].miou, of[LAST].miou) for of in picked if name in of]
        final, whole = (_known_pairs(some, name, protocol) for some in (finals, everything))
        found.append(
            Chooser(
                name=name,
                runs=len(pairs),
                miou=statistics.mean(miou for miou, _ in pairs) if pairs else None,
                above_last=statistics.mean(miou - last for miou, last in pairs) if pairs else None,
                correlation_final=spearman(final),
                final=len(final),
                correlation_all=spearman(whole),
                all=len(whole),
            )
        )
    return found


def misleading(ways: Sequence[Chooser]) -> list[str]:
    """A sentence on each validator whose rank correlation with mIoU over all evaluations is clearly negative."""
    found = []
    for way in ways:
        value = way.correlation_all
        if value is not None and way.all >= ENOUGH and value <= WRONG_WAY:
            found.append(
                f"{way.name} ranks these {way.all} evaluations the wrong way ({value:+.2f}): what it calls best tends "
                "to be worse. Do not choose by it on such data."
            )
    return found


def spearman(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's rank correlation, -1..1, ties by mean rank; none for fewer than three pairs or a constant side."""
    if len(pairs) < 3 or any(len(set(side)) == 1 for side in zip(*pairs, strict=True)):
        return None
    from scipy.stats import spearmanr

    value = float(spearmanr([x for x, _ in pairs], [y for _, y in pairs]).statistic)
    return None if math.isnan(value) else value


def _known_pairs(evaluations: Sequence[Evaluation], validator: str, protocol: str) -> list[tuple[float, float]]:
    return [
        (e.validators[validator], miou)
        for e in evaluations
        if validator in e.validators and (miou := e.miou.get(protocol)) is not None
    ]
