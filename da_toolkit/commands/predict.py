"""da-toolkit predict RUN IMAGES...: classes of your own images by a finished run, as masks, overlays and train ids."""

import hashlib
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from da_toolkit.commands.parsing import parsed
from da_toolkit.errors import UserError
from da_toolkit.evaluation.inference import Inference
from da_toolkit.models.trial import check_passes
from da_toolkit.predicting.inputs import LIST, Inputs, collect
from da_toolkit.predicting.outputs import KINDS, Kind, Outputs
from da_toolkit.predicting.pipeline import Network, Pipeline, Tally
from da_toolkit.predicting.servers import SERVERS
from da_toolkit.ranks.launch import launch, lost_ranks_explained
from da_toolkit.ranks.outside import started_outside
from da_toolkit.ranks.parallel import from_main, gathered
from da_toolkit.recipe.files import find_recipe, load_recipe
from da_toolkit.recipe.passes import evaluation_passes
from da_toolkit.runs.trained import TrainedRun
from da_toolkit.terminal import live


@dataclass(frozen=True)
class Command:
    """Write what a finished run's network says of images: OUTPUT/KIND/NAME.png, at the images' own resolution. Files
    that are there are kept, so that the same command goes on where it was stopped. What cannot be read is named and
    left out; the exit code is 1 then."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run's folder, such as runs/adaptseg_gta/0."""
    images: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGES...")]
    """Image files, videos, folders (at any depth), patterns such as 'photos/**/*.jpg', and - for a list of them on
    standard input, one a line."""
    output: Path = Path("predictions")
    """Folder for the predictions."""
    write: tuple[Kind, ...] = ("masks", "overlays", "train_ids")
    """What is written: "masks" (colours), "overlays" (half image, half mask), "train_ids", "confidence" and "entropy"
    (grey, 255 = 1), and what test servers take: "cityscapes" (label ids, 2048x1024), "bdd100k" (train ids, 1280x720),
    "acdc" (train ids, 1920x1080)."""
    overwrite: bool = False
    """Predict again what is there already."""
    best: bool = False
    """Use `best.safetensors`, the weights that the run's --best chose, instead of the last ones."""
    size: tuple[int, int] | None = None
    """Height and width that the network sees images at; by default the recipe's."""
    own_size: bool = False
    """Let the network see images at their own resolution; larger ones than the recipe's size pass under a window."""
    window: tuple[int, int] | None = None
    """Height and width of a sliding window; by default the recipe's, or with --own-size the recipe's size."""
    flip: bool = False
    """Also average with the mirrored image, if the recipe does not."""
    scales: tuple[float, ...] | None = None
    """Average over these zooms; by default the recipe's."""
    batch_size: int | None = None
    """Images a forward pass; by default the recipe's."""
    devices: int | None = None
    """Processes that share the images, one a GPU (without GPUs: on the CPU)."""
    recipe: str = ""
    """The recipe's file, if it defines classes of its own."""

    def inference(self, own: Inference) -> Inference:
        """The recipe's evaluation settings `own` with those of the command line."""
        if self.own_size and self.size:
            raise UserError("--size brings all images to one size, --own-size none: pass one of them.")
        return Inference(
            size=self.size or own.size,
            flip=own.flip or self.flip,
            scales=self.scales or own.scales,
            window=self.window or own.window,
            stride=None if self.window else own.stride,
            batch_size=own.batch_size if self.batch_size is None else self.batch_size,
        )


def main(words: Sequence[str], prog: str) -> int:
    """Predict all images; 1 if something was left out."""
    command = parsed(Command, words, prog)
    if command.recipe:
        load_recipe(find_recipe(command.recipe))
    if not command.write:
        raise UserError(f"--write names what is written, at least one of {', '.join(KINDS)}.")
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # too large ones are refused in a sentence
    with lost_ranks_explained():
        rank, world, device = _share(command.devices)
        inputs = from_main(lambda: _inputs(command))
        pipeline, outputs = _pipeline(command, device, (rank, world))
        with _progress(pipeline, len(inputs.found), world, rank == 0):
            if rank == 0:
                for sentence in inputs.left_out:
                    pipeline.tell(f"left out: {sentence}")
            tally = pipeline.run(inputs.found)
        everyone = gathered((tally, outputs.resized))
    if rank == 0:
        _tell_resized([kind for _, kinds in everyone for kind in kinds])
        total = [sum(getattr(each, name) for each, _ in everyone) for name in ("done", "kept", "left_out")]
        return _summary(command, Tally(*total), len(inputs.left_out))
    return 1 if tally.left_out else 0


def _share(devices: int | None) -> tuple[int, int, torch.device]:
    """This process's rank, how many there are, and its device."""
    if (devices or 1) == 1 and started_outside() is None:
        if devices is not None and devices < 1:
            raise UserError(f"--devices must be at least 1, got {devices}.")
        return 0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu")
    fabric = launch(devices, "32-true")
    return fabric.global_rank, fabric.world_size, fabric.device


def _inputs(command: Command) -> Inputs:
    listed = sys.stdin.buffer.read() if LIST in command.images else b""
    flat = [kind for kind in command.write if kind in SERVERS]
    return collect(command.images, command.output, KINDS, listed, flat)


def _pipeline(command: Command, device: torch.device, share: tuple[int, int]) -> tuple[Pipeline, Outputs]:
    run = TrainedRun(command.run, command.best)
    run.device = device
    outputs = Outputs(command.output, command.write, run.label_space, command.overwrite)
    settings = command.inference(run.recipe.evaluation)
    size = settings.size or run.recipe.target.size
    if not command.own_size:
        check_passes(run.network, evaluation_passes(settings, size))
    seen = {name: getattr(settings, name) for name in ("flip", "scales", "window", "stride")}
    how = {"size": "own" if command.own_size else size, **seen}
    from_main(
        lambda: outputs.claim({"network": _digest(run.folder / run.weights), "classes": run.label_space.classes, **how})
    )
    network = Network(run.network, device, settings, size, command.own_size)
    return Pipeline(network, outputs, share), outputs


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:16]


@contextmanager
def _progress(pipeline: Pipeline, inputs: int, world: int, shown: bool) -> Iterator[None]:
    """A bar of this process's images where a terminal can show one; sentences are printed above it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = not shown or not live(sys.stderr)
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=hidden) as progress:
        task = progress.add_task("images", total=-(-inputs // world))
        pipeline.tell = lambda said: progress.console.print(said, markup=False, highlight=False, soft_wrap=True)
        pipeline.count = lambda: progress.advance(task)
        pipeline.expect = lambda more: progress.update(task, total=(progress.tasks[0].total or 0) + more)
        yield


def _tell_resized(kinds: list[Kind]) -> None:
    for kind, count in Counter(kinds).items():
        height, width = SERVERS[kind].size
        print(
            f"note: {count} images are not {width}x{height} as those of {kind}; their ids in {kind}/ were brought to "
            "that size by nearest neighbour.",
            file=sys.stderr,
        )


def _summary(command: Command, tally: Tally, more_left_out: int) -> int:
    """Tell what became of the images; the exit code."""
    left_out = tally.left_out + more_left_out
    kept = f", {tally.kept} were there already (--overwrite predicts them again)" if tally.kept else ""
    less = f", {left_out} left out" if left_out else ""
    kinds = ", ".join(command.write).replace("_", " ")
    print(
        f"{tally.done} of {tally.done + tally.kept + left_out} images predicted{kept}{less}; {kinds} are in "
        f"{command.output}"
    )
    return 1 if left_out else 0
