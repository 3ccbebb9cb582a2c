"""da-toolkit COMMAND: finds a command and starts it; what a command needs is loaded no earlier than that."""

import importlib
import sys
from collections.abc import Callable

from da_toolkit.errors import UserError, ends_process, unknown_name
from da_toolkit.flags import unknown_flag
from da_toolkit.interrupts import ended_by_interrupts

COMMANDS = {
    "init": "write a commented recipe and a label table for your own photographs",
    "run": "train and score a recipe; --list shows all",
    "evaluate": "score a finished run again, with other settings if wished",
    "predict": "classes of your own images by a finished run",
    "export": "a finished run's network as an ONNX, torch.export or safetensors file, with a card",
    "view": "a page on this machine that shows runs while they train",
    "compare": "tables, intervals, curves and pictures of finished runs side by side",
    "prepare": "look at a recipe's data, make its superpixels, or export the street world",
    "track": "send MLflow what a run could not send while it trained",
    "demo": "source-only, adapted and oracle on the embedded street world, in minutes",
}
COMPLETION = "--tyro-print-completion"


def main() -> None:
    """The console script `da-toolkit`."""
    words = sys.argv[1:]
    ends_process(lambda: _dispatch(words))


def started(name: str) -> Callable[[], None]:
    """The `main` of `python -m da_toolkit.NAME`."""
    return lambda: ends_process(lambda: _start(name, sys.argv[1:], f"python -m da_toolkit.{name}"))


def _dispatch(words: list[str]) -> int | None:
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0 if words else 2
    if words[0] == "--version":
        from da_toolkit import __version__

        print(f"da-toolkit {__version__}")
        return 0
    if words[0].replace("_", "-").startswith((COMPLETION, "--tyro-write-completion")):
        from da_toolkit.commands.completion import complete

        words = [*words[0].split("=", 1), *words[1:]]

        complete(words)
        return 0
    if words[0] in ("--list", "--family"):
        raise UserError(f"Names are listed by a command: da-toolkit run {' '.join(words)}")
    if words[0].startswith("-"):
        raise unknown_flag(words[0], ("--help", "--version", COMPLETION), "da-toolkit")
    if words[0] not in COMMANDS:
        raise unknown_name("command", words[0], COMMANDS)
    return _start(words[0], words[1:], f"da-toolkit {words[0]}")


def _start(name: str, words: list[str], prog: str) -> int | None:
    with ended_by_interrupts():
        module = importlib.import_module(f"da_toolkit.commands.{name}")
    code: int | None = module.main(words, prog)
    return code


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            "usage: da-toolkit COMMAND ...",
            "",
            "Unsupervised domain adaptation of semantic segmentation: recipes, methods, honest benchmark tables.",
            "",
            *lines,
            "",
            "`da-toolkit COMMAND --help` tells more. `da-toolkit --version` tells the version;",
            f"`da-toolkit {COMPLETION} bash` (or zsh, fish, tcsh) prints a script that completes what you type.",
        ]
    )
