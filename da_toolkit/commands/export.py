"""da-toolkit export RUN: a finished run's network as ONNX, torch.export or safetensors, with a model card."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from da_toolkit.commands.parsing import parsed
from da_toolkit.errors import UserError
from da_toolkit.exporting.export import Kind, export
from da_toolkit.recipe.files import find_recipe, load_recipe
from da_toolkit.report.runs import Run, find_runs
from da_toolkit.runs.trained import TrainedRun


@dataclass(frozen=True)
class Command:
    """Write a folder ready for a hub: the file, a model card (README.md), config.json and the recipe. Normalisation is
    inside the file; how equal it is to the run is measured and written into the card."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run's folder, such as runs/adaptseg_gta/0."""
    format: Kind = "onnx"
    """"onnx", "torch-export" (.pt2), or "safetensors" (a folder that load_run and predict take)."""
    output: Path | None = None
    """Folder to write; by default RUN/export/FORMAT."""
    best: bool = False
    """Use `best.safetensors`, the weights that the run's --best chose, instead of the last ones."""
    overwrite: bool = False
    """Replace an export that is there already."""
    recipe: str = ""
    """The recipe's file, if it defines classes of its own."""


def main(words: Sequence[str], prog: str) -> None:
    """Export, and tell where it is and how equal."""
    command = parsed(Command, words, prog)
    if command.recipe:
        load_recipe(find_recipe(command.recipe))
    run = TrainedRun(command.run, command.best)
    if command.format != "safetensors":
        print("exporting: the network is traced, run at several sizes and compared, which may take minutes", flush=True)
    output = command.output or command.run / "export" / command.format
    equality = export(run, command.format, output, command.overwrite, _seeds(command.run))
    print(
        f"written: {output} (logits differ by {equality.difference:.1e} at most from the run's; "
        f"{100 * equality.agreement:.3f} % of the pixels have the same class)"
    )


def _seeds(run: Path) -> list[Run]:
    """The finished runs beside it; none where they cannot be told apart."""
    try:
        return find_runs([run.resolve().parent])[0]
    except UserError:  # damaged, or copies of one seed: no reason not to export this one
        return []
