"""Writes what a run tells MLflow into its folder; a process of its own sends it, so MLflow cannot hold up training."""

import os
import shlex
import subprocess
import sys
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import da_toolkit
from da_toolkit.errors import UserError
from da_toolkit.shareable import without_password
from da_toolkit.tracking.spool import Sent, Spool

FINISH_WAIT = 10.0
"""Seconds that the end of a run waits at most for what is not sent yet."""
STOP_WAIT = 2.0
"""Of a run that a signal stops: whoever sent it will not wait long."""


class SpoolTracker:
    """Appends to `tracking.jsonl`; neither this class nor its process touches the network or imports mlflow."""

    def __init__(self, place: str, address: str, folder: Path, resumes: bool) -> None:
        """See `make_tracker`; `address` is what `address_of` made of `place`."""
        self.place, self.address, self.resumes = place, address, resumes
        self.spool = Spool(folder)
        self.started = False
        self.sender: subprocess.Popen[bytes] | None = None

    def start(self, experiment: str, run_name: str, parameters: dict[str, Any], tags: dict[str, str]) -> None:
        """A resumed run goes on in its MLflow run; one that began anew in the same folder gets another."""
        key = self.spool.mend().get("key")
        self.spool.append(
            "start",
            key=key if key and self.resumes else uuid.uuid4().hex,
            place="mlflow" if self.place == "mlflow" else without_password(self.address),
            experiment=experiment,
            run_name=run_name,
            tags=tags,
            process=os.getpid(),
        )
        self.spool.append("parameters", values={name: str(value) for name, value in parameters.items()})
        self.started = True
        self._launch()

    def _launch(self) -> None:
        root = str(Path(da_toolkit.__file__).parent.parent)
        path = [*filter(None, [os.environ.get("PYTHONPATH")]), root]
        words = [str(self.spool.folder.resolve()), self.address, str(os.getpid())]
        try:
            self.sender = subprocess.Popen(
                [sys.executable, "-m", "da_toolkit.tracking.sender", *words],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,  # not the terminal's: whoever reads this run's output must not wait for it
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for the training
            )
        except OSError as error:
            print(f"warning: nothing is sent to MLflow for now: {error.strerror or error}.", file=sys.stderr)
            return
        assert self.sender.stdout is not None
        os.set_blocking(self.sender.stdout.fileno(), False)

    def metrics(self, values: dict[str, float], step: int) -> None:
        """Raises `UserError` if the disk refuses, as all that writes here."""
        self.spool.append("metrics", step=step, values=values)
        self._pass_on()

    def table(self, name: str, columns: dict[str, list]) -> None:
        self.spool.append("table", name=name, columns=columns)

    def picture(self, path: Path) -> None:
        self.artifact(path, "pictures")

    def artifact(self, path: Path, folder: str = "") -> None:
        """The file is read when it is sent: as it is then, and not at all if it is gone."""
        path, home = path.resolve(), self.spool.folder.resolve()
        inside = path.relative_to(home) if path.is_relative_to(home) else path
        self.spool.append("file", path=str(inside), folder=folder)

    def model(self, folder: Path) -> None:
        """Put together when it is sent: MLflow's format needs mlflow."""
        folder, home = folder.resolve(), self.spool.folder.resolve()
        self.spool.append("model", path=str(folder.relative_to(home) if folder.is_relative_to(home) else folder))

    def finish(self, status: str) -> None:
        """Waits at most `FINISH_WAIT` seconds, or `STOP_WAIT` if killed, then says what is kept.

        Raises nothing: it often runs while another error is on its way to the user.
        """
        if not self.started:
            return
        try:
            self.spool.append("finish", status=status)
        except UserError as error:
            print(f"warning: {error}", file=sys.stderr)
        if self.sender:
            with suppress(subprocess.TimeoutExpired):
                self.sender.wait(STOP_WAIT if status == "KILLED" else FINISH_WAIT)
            self._pass_on()
            if self.sender.stdout:
                self.sender.stdout.close()
        shown = without_password(self.address)
        if kept := Sent.load(self.spool.folder, shown).kept(self.spool):
            print(
                f"warning: {kept} tracking events are not with MLflow at {shown} yet. They are kept; this sends them: "
                f"python -m da_toolkit.track sync {shlex.quote(str(self.spool.folder))}",
                file=sys.stderr,
            )

    def _pass_on(self) -> None:
        """Show what the sender has to say, without waiting for it."""
        if self.sender and self.sender.stdout and (said := self.sender.stdout.read()):
            print(said.decode(errors="replace").rstrip("\n"), file=sys.stderr)
