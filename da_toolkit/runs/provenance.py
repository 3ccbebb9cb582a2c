"""Where a result came from: versions, command, commit, device and memory."""

import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from da_toolkit import __version__
from da_toolkit.processor import processor
from da_toolkit.shareable import portable

if TYPE_CHECKING:  # the trackers use this file too and have no need of torch
    import torch

_PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "timm",
    "albumentations",
    "kornia",
    "numpy",
    "opencv-python-headless",
)


def environment(device: "torch.device") -> dict[str, Any]:
    """Versions, machine and device of this process."""
    versions = {"da_toolkit": __version__, "python": platform.python_version(), **package_versions(_PACKAGES)}
    return {
        "versions": versions,
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "device": device_name(device),
        "command": " ".join([Path(sys.argv[0]).name, *map(portable, sys.argv[1:])]),
        "commit": git_commit(Path(__file__).parent.parent),
    }


def device_name(device: "torch.device") -> str:
    """What computes, such as "cuda (NVIDIA H200)"."""
    if device.type == "cuda":
        import torch

        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({processor()})"


def package_versions(packages: Iterable[str]) -> dict[str, str]:
    """The installed version of each, or "absent"."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def git_commit(folder: Path) -> str | None:
    """The checkout's commit, with "-dirty" where tracked files other than `benchmarks/results` differ from it.

    Outside a checkout, without git, and for a folder the checkout does not track, such as a virtual environment inside
    somebody's project, what the environment variable DA_TOOLKIT_COMMIT says, as images built of a commit may set it, or
    none.
    """
    try:
        _git(folder, "ls-files", "--error-unmatch", ".")
        head = _git(folder, "rev-parse", "HEAD")
        places = ":/", ":(top,exclude)benchmarks/results"
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", *places)
        return head + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return os.environ.get("DA_TOOLKIT_COMMIT")


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()


def peak_memory_mb(device: "torch.device") -> float:
    """Largest device memory of this process so far, in MiB; on the CPU, its largest resident set."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB, but bytes on macOS
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
