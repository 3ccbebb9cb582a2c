"""Which model of label maps doubts a wrong category: RPT's columns, or a 2-D one that sees place and neighbours.

    python benchmarks/logic_context.py RUN --data-root FOLDER [--images 300]

Both learn from source label maps to fill in what is masked. Then, by the likelihood of a category against its usual
frequency: swapped patches of held-out source maps, and wrong predictions of the run's network on the target's training
images, beside that network's own confidence. Area under the curve of telling wrong from right, within one category;
0.5 is chance. Target labels judge, and nothing is trained on them.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F

from da_toolkit.api import load_run
from da_toolkit.data.labels import IGNORE
from da_toolkit.data.loader import Loading
from da_toolkit.data.samples import Samples
from da_toolkit.data.transforms import Augmentation, resized_label
from da_toolkit.errors import exits_cleanly
from da_toolkit.files import write_json
from da_toolkit.regularizers.rpt.logic import SpatialLogic, grid_lift, majority_grid, to_columns, train_logic
from da_toolkit.runs.provenance import environment
from da_toolkit.runs.trained import TrainedRun
from da_toolkit.shareable import short_commit
from da_toolkit.terms.categories import Categories, Level
from da_toolkit.terms.step import View

RESULTS = Path(__file__).parent / "results" / "logic_context.json"
SETTINGS = SpatialLogic()
TILE, SETS = 4, 8
"""Cells a side that are masked together, and in how many turns the tiles of a map are masked."""
PATCH = 6
"""Cells a side of what is swapped."""
SMALLEST = 1e-8
"""What a likelihood is clipped to inside a logarithm."""
LEAST = 30
"""Wrong, and right, cells of a category below which it is not judged."""
Lift = Callable[[Tensor], Tensor]
"""How likely each cell's category is against its usual frequency: float [B,h,w] of int64 [B,h,w]."""


class ContextModel(nn.Module):
    """Fills in masked tiles of a label map [B,h,w]: a convolutional encoder-decoder that sees where a cell stands."""

    def __init__(self, categories: int, width: int = 24) -> None:
        super().__init__()
        self.categories = categories

        def layer(inside: int, outside: int) -> nn.Module:
            return nn.Sequential(nn.Conv2d(inside, outside, 3, padding=1), nn.GroupNorm(8, outside), nn.ReLU())

        self.first = nn.Sequential(layer(categories + 4, width), layer(width, width))
        self.middle = nn.Sequential(layer(width, 2 * width), layer(2 * width, 2 * width))
        self.deep = nn.Sequential(layer(2 * width, 2 * width), layer(2 * width, 2 * width))
        self.up = layer(4 * width, width)
        self.last = nn.Sequential(layer(2 * width, width), nn.Conv2d(width, categories, 1))

    def forward(self, grid: Tensor, masked: Tensor) -> Tensor:
        """Logits [B,C,h,w]; nothing is read where `masked` bool [B,h,w]."""
        tokens = grid.where(grid != IGNORE, self.categories).masked_fill(masked, self.categories + 1)
        height, width = grid.shape[1:]
        rows = torch.linspace(-1, 1, height).view(1, 1, -1, 1).expand(len(grid), 1, height, width)
        columns = torch.linspace(-1, 1, width).view(1, 1, 1, -1).expand(len(grid), 1, height, width)
        seen = F.one_hot(tokens, self.categories + 2).permute(0, 3, 1, 2).float()
        first = self.first(torch.cat([seen, rows, columns], 1))
        half = self.middle(F.max_pool2d(first, 2))
        quarter = self.deep(F.max_pool2d(half, 2))
        up = self.up(torch.cat([half, F.interpolate(quarter, size=half.shape[2:])], 1))
        return self.last(torch.cat([first, F.interpolate(up, size=first.shape[2:])], 1))


def dealt(height: int, width: int) -> Tensor:
    """int64 [h,w]: the turn in which each cell is masked; neighbouring tiles have different ones."""
    return (3 * (torch.arange(height) // TILE)[:, None] + torch.arange(width) // TILE) % SETS


def trained_context(maps: Tensor, categories: int, steps: int = 400) -> ContextModel:
    """From source maps int64 [N,h,w]."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ContextModel(categories)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    turn = dealt(*maps.shape[1:])
    for _ in range(steps):
        grid = maps[torch.randint(0, len(maps), (16,), generator=generator)]
        masked = turn[None] == torch.randint(0, SETS, (16, 1, 1), generator=generator)
        loss = F.cross_entropy(model(grid, masked), grid.where(masked, IGNORE), ignore_index=IGNORE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval().requires_grad_(False)


@torch.no_grad()
def lift_by_context(model: ContextModel, prior: Tensor, grid: Tensor) -> Tensor:
    """Each cell's, from the passes in which its tile is masked."""
    turn, found = dealt(*grid.shape[1:]), torch.ones(grid.shape)
    for number in range(SETS):
        masked = (turn == number).expand_as(grid)
        likely = model(grid, masked).softmax(1)
        own = likely.gather(1, grid.where(grid != IGNORE, 0)[:, None])[:, 0]
        found = own.where(masked, found)
    return found / prior[grid.where(grid != IGNORE, 0)]


def swapped(maps: Tensor, true: int, false: int) -> tuple[Tensor, Tensor]:
    """Maps in which what there is of category `true` in a window of PATCH cells, around one of its cells, is called
    `false`; and bool [N,h,w] where."""
    changed, where = maps.clone(), torch.zeros(maps.shape, dtype=torch.bool)
    generator = np.random.default_rng(0)
    for number, grid in enumerate(maps):
        cells = (grid == true).nonzero()
        if len(cells):
            row, column = (cells[generator.integers(len(cells))] - PATCH // 2).clamp(min=0).tolist()
            window = slice(row, row + PATCH), slice(column, column + PATCH)
            where[number][window] = grid[window] == true
    changed[where] = false
    return changed, where


def told_apart(doubt: np.ndarray, wrong: np.ndarray) -> float | None:
    """The area under the curve, where there are enough of both."""
    if min(wrong.sum(), (~wrong).sum()) < LEAST:
        return None
    return float(roc_auc_score(wrong, doubt))


def on_swaps(lift: Lift, maps: Tensor, names: tuple[str, ...]) -> dict[str, float | None]:
    """By pair of categories: cells that are falsely called so against those that truly are, in the untouched maps."""
    true_lift, found = lift(maps), {}
    for true, false in ((a, b) for a in range(len(names)) for b in range(len(names)) if a != b):
        changed, where = swapped(maps, true, false)
        right = true_lift[maps == false]
        doubt = -torch.cat([lift(changed)[where], right]).log().numpy()
        wrong = np.arange(len(doubt)) < int(where.sum())
        found[f"{names[true]} called {names[false]}"] = told_apart(doubt, wrong)
    return found


def predictions(run: TrainedRun, data_root: Path | None, images: int, categories: Categories) -> tuple[Tensor, ...]:
    """On the target's training images: decided categories, their mean probability, and true ones; each [N,h,w]."""
    data, size = run.recipe.target.build("train", data_root), run.recipe.target.size
    chosen = np.random.default_rng(0).permutation(len(data))[:images].tolist()
    samples = Samples(data, size, Augmentation(), True, 0, None)
    run.network.eval()
    decided, sure, truth = [], [], []
    with torch.inference_mode():
        for batch in Loading(samples, [[(0, index)] for index in chosen], 0):
            view = View(run.network, batch.to(run.device))
            mean = F.avg_pool2d(categories.probabilities(view.probabilities()), SETTINGS.cell).cpu()
            best, category = mean.max(1)
            decided.append(category)
            sure.append(best)
            truth.append(majority_grid(categories.labels(batch.label), SETTINGS.cell, len(categories)))
    return torch.cat(decided), torch.cat(sure), torch.cat(truth)


def source_maps(run: TrainedRun, data_root: Path | None, categories: Categories, count: int) -> Tensor:
    """int64 [N,h,w] from the first maps of the source."""
    data, size = run.recipe.source.build("train", data_root), run.recipe.source.size
    found = []
    for index in range(min(count, len(data))):
        label = torch.from_numpy(resized_label(data.label(index), size)).long()[None]
        found.append(majority_grid(categories.labels(label), SETTINGS.cell, len(categories)))
    return torch.cat(found)


def judged(run: TrainedRun, data_root: Path | None, images: int, level: Level) -> dict[str, Any]:
    """Of both models and of confidence: areas under the curve by category, on swaps and on predictions."""
    categories = Categories(run.label_space, level)
    maps = source_maps(run, data_root, categories, 1000)
    held = len(maps) // 10
    learnt, kept = maps[:-held], maps[-held::2]
    column, _ = train_logic(SETTINGS, to_columns(learnt), len(categories), 0)
    context = trained_context(learnt, len(categories))
    models: dict[str, Lift] = {
        "columns": lambda grid: grid_lift(SETTINGS, column, grid).clamp(min=SMALLEST),
        "2-D": lambda grid: lift_by_context(context, column.prior, grid).clamp(min=SMALLEST),
    }
    decided, sure, truth = predictions(run, data_root, images, categories)
    known = truth != IGNORE
    found: dict[str, Any] = {"swaps": {}, "predictions": {}}
    doubts = {"confidence": 1 - sure} | {name: -lift(decided).log() for name, lift in models.items()}
    for name, doubt in doubts.items():
        found["predictions"][name] = {
            category: told_apart(doubt[own].numpy(), (decided != truth)[own].numpy())
            for number, category in enumerate(categories.names)
            for own in [known & (decided == number)]
        }
    for name, lift in models.items():
        found["swaps"][name] = on_swaps(lift, kept, categories.names)
    return found


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: areas under the curve of predictions by category, and of swaps, the mean and those of the issue."""
    lines = []
    for result in results:
        names = list(result["predictions"]["confidence"])
        lines += [
            f"{result['run']}, {result['images']} target images, commit {short_commit(result['commit'])}."
            + _asked_for(result["swaps"]),
            "",
            f"| wrong from right, by what is named | {' | '.join(names)} |",
            f"| --- |{' ---: |' * len(names)}",
        ]
        for way, own in result["predictions"].items():
            lines.append(f"| predictions, by {way} | {' | '.join(_cell(own[name]) for name in names)} |")
        pairs = list(result["swaps"]["columns"])
        for way, own in result["swaps"].items():
            cells = []
            for name in names:
                found = [own[pair] for pair in pairs if pair.endswith(f" called {name}") and own[pair] is not None]
                cells.append(_cell(sum(found) / len(found) if found else None))
            lines.append(f"| swapped patches of the source, by {way} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines).rstrip()


def _asked_for(swaps: dict[str, dict[str, float | None]]) -> str:
    """The swaps that RPT's labels suffer from, in words; nothing at the level of categories, which has none of them."""
    told = [
        f"{pair} {_cell(swaps['columns'][pair])} and {_cell(swaps['2-D'][pair])}"
        for pair in ("road called sidewalk", "sidewalk called road", "vehicle called road", "road called vehicle")
        if pair in swaps["columns"]
    ]
    return f" Swaps by columns and by 2-D: {', '.join(told)}." if told else ""


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument("--data-root", type=Path, help="folder that holds the data sets (not needed for streets)")
    parser.add_argument("--images", type=int, default=300)
    options = parser.parse_args()
    run = load_run(options.run)
    results = [
        {"run": f"{options.run.parent.name}, seed {options.run.name}", "images": options.images, "level": level}
        | judged(run, options.data_root, options.images, level)
        | environment(run.device)
        for level in ("category", "class")
    ]
    write_json(RESULTS, results)
    print(table(results))


if __name__ == "__main__":
    exits_cleanly(main)
