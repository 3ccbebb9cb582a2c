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
from typing import TYPE_CHECKING, Any

from da_toolkit import __version__
from da_toolkit.errors import UserError

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


SQLITE = "sqlite:///"
"""What an address of a SQLite file begins with."""


def environment(device: "torch.device") -> dict[str, Any]:
    """Versions, machine and device of this process."""
    versions = {"da_toolkit": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "absent"
    name = platform.machine()
    if device.type == "cuda":
        import torch

        name = torch.cuda.get_device_name(device)
    return {
        "versions": versions,
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "device": f"{device.type} ({name})",
        "command": " ".join([Path(sys.argv[0]).name, *map(_portable, sys.argv[1:])]),
        "commit": git_commit(Path(__file__).parent.parent),
    }


def _portable(word: str) -> str:
    """A word of a command as it may be shared: absolute paths by their last part, addresses without a password."""
    option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    scheme = SQLITE if value.startswith(SQLITE) else ""
    path = Path(value.removeprefix(scheme))
    shown = f"{scheme}.../{path.name}" if path.is_absolute() else without_password(value)
    return f"{option}{equals}{shown}"


def without_password(address: str) -> str:
    """`address` as it may be shown and kept: without `user:password@`."""
    scheme, separator, rest = address.partition("://")
    if scheme not in ("http", "https"):
        return address
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"


def git_commit(folder: Path) -> str | None:
    """The checkout's commit, with "-dirty" where tracked files other than `benchmarks/results` differ from it.

    None outside a checkout, without git, and for a folder the checkout does not track, such as a virtual
    environment inside somebody's project.
    """
    try:
        _git(folder, "ls-files", "--error-unmatch", ".")
        head = _git(folder, "rev-parse", "HEAD")
        places = ":/", ":(top,exclude)benchmarks/results"
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", *places)
        return head + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def short_commit(commit: object) -> str:
    """For tables: ten digits of what `git_commit` found, and whether files differed."""
    text = str(commit)
    return text[:10] + ("-dirty" if text.endswith("-dirty") else "")


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


def write_json(path: Path, value: Any) -> None:
    """Write beside the file and rename. Raises `UserError` naming the folder if the disk refuses."""
    write_whole(path, (json.dumps(value, indent=2) + "\n").encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write beside the file and rename. Raises `UserError` naming the folder if the disk refuses."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise disk_error(path.parent, error) from error


def disk_error(folder: Path, error: OSError) -> UserError:
    """The error for a folder that cannot be written to."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    reason = "no space is left" if full else error.strerror or str(error)
    remedy = "Free space there" if full else "Make it writable"
    return UserError(f"The folder {folder} cannot be written to: {reason}. {remedy} or set --runs to another folder.")
