"""da-toolkit evaluate RUN: score a finished run again, with other evaluation settings if wished."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from da_toolkit.commands.first_words import Parser
from da_toolkit.commands.parsing import parsed
from da_toolkit.data.labelled import require_labelled
from da_toolkit.errors import UserError
from da_toolkit.evaluation.evaluate import evaluate
from da_toolkit.evaluation.inference import Inference
from da_toolkit.evaluation.protocols import protocols_for, score
from da_toolkit.files import write_json
from da_toolkit.models.trial import check_passes
from da_toolkit.recipe.files import find_recipe, load_recipe
from da_toolkit.recipe.passes import evaluation_passes
from da_toolkit.report.runs import read_run
from da_toolkit.report.table import summarize, terminal_tables
from da_toolkit.runs.folder import load_network, load_recipe_of
from da_toolkit.terminal import show


@dataclass(frozen=True)
class Command:
    """Evaluation settings; the defaults are the run's own."""

    inference: Annotated[Inference, tyro.conf.arg(name="")]
    best: bool = False
    """Score `best.safetensors`, the weights that the run's --best chose, instead of the last ones."""
    split: str = "val"
    """Split of the target to score."""
    data_root: Path | None = None
    """Folder that holds the data sets."""


def main(words: Sequence[str], prog: str) -> None:
    """Score a run's weights, print tables, and keep what was found in its `evaluations.json`."""
    parser = Parser(prog)
    parser.add_argument("run", nargs="?", help="a run's folder, such as runs/adaptseg_gta/0")
    parser.add_argument("--recipe", help="the recipe's file, if it defines classes of its own")
    first, rest = parser.parse_known_args(list(words))
    if first.run is None:
        parser.refuse_misspelt(rest)
        parser.print_help()
        print("\nWith a run, --help shows every setting of the evaluation that can be overridden.")
        raise SystemExit(0 if {"-h", "--help"} & set(rest) else 2)
    parser.refuse_before(first.run, "run", words, rest)
    run = Path(first.run)
    if first.recipe is not None:
        load_recipe(find_recipe(first.recipe))
    result, recipe = read_run(run).result, load_recipe_of(run)
    own = Inference(**{field.name: getattr(recipe.evaluation, field.name) for field in dataclasses.fields(Inference)})
    command = parsed(Command, rest, f"{prog} {run}", ("--recipe",), default=Command(own))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    weights = "best.safetensors" if command.best else "model.safetensors"
    model = load_network(run, recipe, weights).to(device).to(memory_format=torch.channels_last)
    check_passes(model, evaluation_passes(command.inference, recipe.target.size))
    data = recipe.target.build(command.split, command.data_root)
    if data.has_labels:
        require_labelled(data, "to score against", command.inference.images)
    confusion = evaluate(model, data, command.inference, recipe.target.size, device).sum(0)
    scores = {p.name: score(confusion, p).to_json() for p in protocols_for(data.label_space)}
    now, before = dataclasses.asdict(command.inference), dataclasses.asdict(own)
    changed = [f"{name} {now[name]}" for name in now if now[name] != before[name]]
    changed += [weights] if command.best else []
    of_training = ("seconds", "peak_memory_mb")
    scored = {name: value for name, value in result.items() if name not in of_training}
    for protocol in scores:
        rows = summarize([{**scored, "scores": scores}], protocol)
        for table in terminal_tables(rows, f"{run}, {command.split}, {protocol}"):
            show(table)
    if changed:
        print(f"other than the run's own: {', '.join(changed)}")
    settings = {"split": command.split, "weights": weights, **now}
    file = run / "evaluations.json"
    write_json(file, [*_others(file, settings), {"settings": settings, "scores": scores}])
    print(f"written: {file} (compare shows the run's own scores)")


def _others(file: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Earlier evaluations of the run under other settings."""
    try:
        known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
        plain = json.loads(json.dumps(settings))  # tuples are lists there
        return [entry for entry in known if entry["settings"] != plain]
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{file} is damaged ({error!r}). Remove it, or move it away, and evaluate again.") from error
