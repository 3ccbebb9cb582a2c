"""Where a result came from: versions, commit, device, memory; and JSON files written whole or not at all."""

import errno
import json
import os
import platform
import resource
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from da_toolkit import __version__
from da_toolkit.errors import UserError

_PACKAGES = ("torch", "torchvision", "lightning", "timm", "albumentations", "kornia", "numpy", "opencv-python-headless")


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, machine and device of this process."""
    versions = {"da_toolkit": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "absent"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "versions": versions,
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "device": f"{device.type} ({name})",
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": git_commit(Path(__file__).parent),
    }


def git_commit(folder: Path) -> str | None:
    """The checkout's commit, with "-dirty" where tracked files differ from it; none outside a checkout."""
    try:
        head = _git(folder, "rev-parse", "HEAD")
        return head + ("-dirty" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def peak_memory_mb(device: torch.device) -> float:
    """Largest device memory of this process so far; on the CPU, its largest resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / 2**10 if sys.platform != "darwin" else kilobytes / 2**20


def write_json(path: Path, value: Any) -> None:
    """Write beside the file and rename. Raises `UserError` naming the folder if the disk refuses."""
    temporary = path.with_suffix(".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(value, indent=2) + "\n")
        temporary.replace(path)
    except OSError as error:
        raise disk_error(path.parent, error) from error


def disk_error(folder: Path, error: OSError) -> UserError:
    """The error for a folder that cannot be written to."""
    reason = "no space is left" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or str(error)
    return UserError(
        f"The folder {folder} cannot be written to: {reason}. Free space there or set --runs to another folder."
    )
