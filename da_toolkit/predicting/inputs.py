"""What `predict` is given: files, folders, patterns, videos and lists, as the images that they name, each once."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from da_toolkit.data.listing import SUFFIXES, files_below
from da_toolkit.errors import UserError

VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ogv", ".wmv")
"""What is opened as a video, in upper or lower case."""
LIST = "-"
"""The word that stands for a list on standard input."""


@dataclass(frozen=True)
class Input:
    """An image file or a video, and what its predictions are called."""

    name: str
    """A path without ending, below each of the output's folders; of a video that of a folder for its frames."""
    file: Path

    @property
    def is_video(self) -> bool:
        return self.file.suffix.lower() in VIDEOS


@dataclass
class Inputs:
    """What was found, and a sentence for each thing that is left out."""

    found: list[Input] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def collect(
    words: Sequence[str], output: Path, written: Sequence[str], listed: bytes = b"", flat: Sequence[str] = ()
) -> Inputs:
    """The images and videos that the words name, in their order.

    A file's name is that of its predictions, without its ending. Below a folder it is the path from there, and below
    a pattern the path from the pattern's first folder that has no wildcard; a relative path of a list is taken whole.

    Args:
        words: files, folders, patterns that the shell did not expand, and `LIST`.
        output: where predictions go.
        written: the folders in it that they fill; what lies there is no input.
        listed: what standard input holds, a file, folder or pattern a line (or between null bytes).
        flat: kinds of output that keep all files in one folder, where the last parts of names must differ too.

    Raises:
        UserError: nothing is named, or nothing is left.
    """
    if not words:
        raise UserError(
            f"Nothing to predict: name images, videos, or folders that hold some, after the run, or {LIST} for a list "
            "on standard input."
        )
    inputs, names, ours = Inputs(), _Names(flat), {(output / kind).resolve() for kind in written}
    for word, named in _named(words, listed, inputs):
        try:
            _refuse_output(Path(word), output, ours)
            for name, file in _below(word) if named is None else [(named, Path(word))]:
                if ours & {*file.resolve().parents}:  # what an earlier call has written
                    continue
                if (why := names.taken(name, file)) is None:
                    inputs.found.append(Input(name, file))
                elif why:
                    inputs.left_out.append(why)
        except UserError as error:
            inputs.left_out.append(str(error))
    if not inputs.found:
        why = " ".join(dict.fromkeys(inputs.left_out)) or f"all images there lie in --output {output}."
        raise UserError(f"Nothing to predict: {why}")
    return inputs


def _named(words: Sequence[str], listed: bytes, inputs: Inputs) -> Iterator[tuple[str, str | None]]:
    """Paths that exist, and the names of files whose path is not their name."""
    for word in words:
        if word == LIST:
            lines = os.fsdecode(listed).split("\0" if b"\0" in listed else "\n")
            lines = [line for line in (line.strip("\r\n") for line in lines) if line.strip()]
            if not lines:
                inputs.left_out.append("Standard input lists nothing.")
            for line in lines:
                yield from _matches(line, inputs, in_list=True)
        else:
            yield from _matches(word, inputs)


def _matches(word: str, inputs: Inputs, in_list: bool = False) -> Iterator[tuple[str, str | None]]:
    if "\0" in word or not word:
        inputs.left_out.append(f"{word!r} is no path.")
    elif os.path.lexists(word):
        yield word, _without_ending(word) if in_list and _below_here(word) and not os.path.isdir(word) else None
    elif not glob.has_magic(word):
        inputs.left_out.append(f"{word} does not exist: name image files, videos, or folders that hold some.")
    else:
        found = sorted(glob.glob(word, recursive=True))
        if not found:
            inputs.left_out.append(f"No file is called {word}.")
        base = _fixed_part(word)
        for match in found:
            if os.path.isdir(match):
                if "**" not in Path(word).parts:  # which also gives what lies in the folder
                    yield match, None
            elif _taken(Path(match)):
                yield match, _without_ending(os.path.relpath(match, base))


def _below(place: str) -> Iterator[tuple[str, Path]]:
    path = Path(place)
    if not path.is_dir():
        yield path.stem, path
        return
    found = [file for file in files_below(path, "predict") if _taken(file)]
    if not found:
        raise UserError(f"The folder {path} holds no images or videos ({', '.join(SUFFIXES + VIDEOS)}).")
    for file in found:
        yield _without_ending(file.relative_to(path).as_posix()), file


def _refuse_output(folder: Path, output: Path, ours: set[Path]) -> None:
    if not folder.is_dir():
        return
    real = folder.resolve()
    if real == output.resolve():
        raise UserError(f"--output {output} is a folder of the images themselves: name another one.")
    if ours & {real, *real.parents}:
        raise UserError(f"The folder {folder} holds predictions, of --output {output}: name the images' own.")


class _Names:
    """Which names are taken, by whom."""

    def __init__(self, flat: Sequence[str]) -> None:
        self.flat = flat
        self.files: dict[str, Path] = {}
        self.last: dict[str, Path] = {}
        self.seen: set[Path] = set()
        self.videos: set[str] = set()
        self.folders: set[str] = set()

    def taken(self, name: str, file: Path) -> str | None:
        """Why `file` cannot have `name`: nothing to say of the same file again; none if it can, and has it now."""
        real = file.resolve()
        if real in self.seen:
            return ""
        above = {parent.as_posix() for parent in Path(name).parents}
        is_video, last = Input(name, file).is_video, Path(name).name
        other = self.files.get(name) or next((self.files[v] for v in self.videos & above), None)
        if other is not None or (is_video and name in self.folders):
            with_what = other if other is not None else "images of a folder of that name"
            remedy = "name the folder that holds both, of which paths are kept"
            if other is not None and other.parent == file.parent:
                remedy = "rename one of them"
            return (
                f"{file} would be written as {name}.png, as is {with_what}: predict it into another folder (--output), "
                f"or {remedy}."
            )
        if self.flat and last in self.last and not is_video:
            return (
                f"{file} would be written as {self.flat[0]}/{last}.png, as is {self.last[last]}: predict it into "
                "another folder (--output)."
            )
        self.seen.add(real)
        self.files[name], self.last[last] = file, file
        self.folders |= above
        if is_video:
            self.videos.add(name)
        return None


def _taken(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES + VIDEOS


def _without_ending(path: str) -> str:
    return Path(path).with_suffix("").as_posix()


def _below_here(path: str) -> bool:
    return not os.path.isabs(path) and ".." not in Path(path).parts


def _fixed_part(pattern: str) -> str:
    """The folder before a pattern's first wildcard."""
    parts = Path(pattern).parts
    first = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    return str(Path(*parts[:first])) if first else "."
