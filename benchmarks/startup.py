"""How much processor time a command takes before it does anything: names need no torch.

    python benchmarks/startup.py

CPU seconds (user and system) of whole processes with one thread, which a busy machine stretches less than wall time.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from da_toolkit.errors import exits_cleanly
from da_toolkit.files import write_json
from da_toolkit.runs.provenance import environment
from da_toolkit.shareable import short_commit

RESULTS = Path(__file__).parent / "results" / "startup.json"
COMMANDS = {
    "python, doing nothing": ["-c", "pass"],
    "import da_toolkit": ["-c", "import da_toolkit"],
    "da-toolkit --help": ["-m", "da_toolkit", "--help"],
    "da-toolkit run --list": ["-m", "da_toolkit", "run", "--list"],
    "da-toolkit compare --help": ["-m", "da_toolkit", "compare", "--help"],
    "import torch": ["-c", "import torch"],
    "da-toolkit run adaptseg_gta --help": ["-m", "da_toolkit", "run", "adaptseg_gta", "--help"],
}


def cpu_seconds(words: list[str]) -> float:
    """User and system time of one Python process and its children."""
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    root = Path(__file__).parent.parent
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, env=alone, cwd=root)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="processes of each command, in turn (default 7)")
    rounds = parser.parse_args().rounds
    found: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in track(range(rounds), "rounds", transient=True):
        for name, words in COMMANDS.items():
            found[name].append(cpu_seconds(words))
    seconds = {name: {"median": statistics.median(times), "all": times} for name, times in found.items()}
    result = {"seconds": seconds, "rounds": rounds, "load": os.getloadavg()[0], **environment(torch.device("cpu"))}
    write_json(RESULTS, result)
    print(table(json.loads(RESULTS.read_text())))


def table(result: dict[str, Any]) -> str:
    """Markdown."""
    lines = ["| command | CPU seconds, median | fastest | slowest |", "| --- | ---: | ---: | ---: |"]
    for name, times in result["seconds"].items():
        lines.append(f"| `{name}` | {times['median']:.2f} | {min(times['all']):.2f} | {max(times['all']):.2f} |")
    told = (
        f"{result['rounds']} processes each, in turn, one thread. {result['device']}, 1-minute load of the machine "
        f"{result['load']:.1f} on {result['cpus']} CPUs, commit {short_commit(result['commit'])}."
    )
    return "\n".join([told, "", *lines])


if __name__ == "__main__":
    exits_cleanly(main)
