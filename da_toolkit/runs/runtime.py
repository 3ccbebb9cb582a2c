"""Settings of a run that are not its recipe's: seed, machine, folders, reports."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from da_toolkit.errors import UserError
from da_toolkit.runs.scoring import Choice
from da_toolkit.settings.values import check_values
from da_toolkit.shareable import without_password
from da_toolkit.tracking.address import check_address

_FOLDERS = ("data_root", "runs", "frame_cache")


@dataclass(frozen=True)
class Runtime:
    """What may differ between machines without changing what is trained."""

    seed: int = 0
    """Decides initial weights, data order and augmentation."""
    data_root: Path | None = None
    """Folder that holds the data sets, each in its own folder (GTA5, cityscapes, ...)."""
    runs: Path = Path("runs")
    """Folder of all runs; this one is kept in RUNS/RECIPE/SEED."""
    devices: int | None = None
    """Processes on this machine, one a GPU (or CPU process). By default what torchrun or SLURM started, else 1."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Arithmetic of the networks."""
    tracking: str = "mlflow"
    """"mlflow" (SQLite in the runs folder), "none", or the URI of an MLflow server, which may be down."""
    workers: int = 2
    """Loader processes for each domain; 0 loads in the training process."""
    frame_cache: Path | None = None
    """Folder in which training images and labels are kept as decoded and resized, so that later epochs and other runs
    read them from there, with the same results; by default none. What it will take is told when the run starts."""
    log_every: int = 10
    """Steps between reports."""
    save_every: int = 500
    """Steps between checkpoints."""
    keep: int = 2
    """Checkpoints that are kept: the last ones."""
    best: Choice = "entropy"
    """By which score of its evaluations a run keeps its best weights in `best.safetensors`: a validator, which needs no
    target labels; "target_labels", an oracle's choice; or "none"."""
    bad_files: float = 0.01
    """Share 0..1 of a domain's training images that may turn out unreadable before the run stops; others stand in."""
    skip_bad_steps: int = 0
    """Steps with NaN or infinite losses or gradients that are left out before one stops the run."""
    compile: bool = False
    """Let torch.compile fuse the network's blocks in training: slow to begin, and kept for later runs. It did not pay
    for a ResNet-101 in bf16 on an H200 (benchmarks/README.md), and on a CPU it turns off quicker convolutions."""
    recompute: Literal["none", "cheap", "blocks"] = "none"
    """What is not kept for the backward pass but computed again there, with the same gradients. "cheap": what norms,
    activations and widening 1x1 convolutions give, half of what a ResNet keeps; "blocks": of each block of the backbone
    all but its input, the least memory for the most time (both in benchmarks/README.md)."""
    resume: bool = False
    """Insist on continuing from the run folder's checkpoint, which an unfinished run of the same recipe does anyway.
    A finished one stays as it is."""
    overwrite: bool = False
    """Start anew in a folder that holds a run, deleting it."""
    accept_changed_data: bool = False
    """Resume though images were added, removed or replaced since the run was begun, unless it knows single ones."""

    def __post_init__(self) -> None:
        for name in _FOLDERS:
            if isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, Path(value))
        check_values(self, "the run's ")
        for name, least in (
            ("seed", 0),
            ("devices", 1),
            ("workers", 0),
            ("log_every", 1),
            ("save_every", 1),
            ("keep", 1),
            ("skip_bad_steps", 0),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"--{name.replace('_', '-')} must be at least {least}, got {value}.")
        if self.resume and self.overwrite:
            raise UserError("--resume continues the run that --overwrite would delete: pass one of them.")
        if self.compile and self.recompute != "none":
            raise UserError(
                "--recompute cannot be combined with --compile, which decides by itself what to compute again: pass "
                "one of them."
            )
        check_address(self.tracking)
        if not 0 <= self.bad_files <= 1:
            raise UserError(f"--bad-files is a share, 0..1, got {self.bad_files}.")

    def to_json(self) -> dict[str, Any]:
        """As plain values, without a server's password."""
        values = dataclasses.asdict(self) | {"tracking": without_password(self.tracking)}
        return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Runtime":
        """What `to_json` wrote. Raises `UserError`, TypeError, AttributeError or ValueError for anything else."""
        paths = {name: Path(values[name]) for name in _FOLDERS if values.get(name) is not None}
        recompute = {True: "blocks", False: "none"}.get(values["recompute"], values["recompute"])  # once a switch
        return cls(**{**values, **paths, "recompute": recompute})
