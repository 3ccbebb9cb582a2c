"""Progress: plain lines in a file, a bar on a terminal."""

import io

from rich.console import Console

from da_toolkit.runs.progress import LiveProgress, PlainProgress, make_progress


class Clock:
    """Seconds that pass only when told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_plain_line() -> None:
    lines: list[str] = []
    clock = Clock()
    progress = PlainProgress(500, lines.append, clock)
    progress.stage("warm-up")
    progress.advance(0)
    clock.now += 20
    progress.report(50, {"seg": 0.91, "adv": 0.002}, 12.3)
    progress.score(31.24)
    clock.now += 20
    progress.report(100, {"seg": 0.5}, 12.0)
    progress.close()
    assert lines == [
        "stage warm-up",
        "step 50/500 [warm-up] seg 0.91 adv 0.002 | 12.3 images/s | ETA 0:03:00",
        "evaluated: mIoU 31.2",
        "step 100/500 [warm-up] seg 0.5 | 12.0 images/s | ETA 0:02:40 | mIoU 31.2",
    ]


def test_time_left_of_a_resumed_run_counts_only_its_own_steps() -> None:
    lines: list[str] = []
    clock = Clock()
    progress = PlainProgress(500, lines.append, clock)
    progress.report(410, {}, 1.0)
    clock.now += 30
    progress.report(420, {}, 1.0)
    assert lines[0].endswith("ETA ?")
    assert lines[1].endswith("ETA 0:04:00")  # 80 steps at 3 s, not 80 at 30 / 420 s


def test_last_step_has_no_time_left() -> None:
    lines: list[str] = []
    PlainProgress(10, lines.append).report(10, {}, 1.0)
    assert lines[0].endswith("ETA 0:00:00")


def test_output_to_a_file_is_plain() -> None:
    file = io.StringIO()
    progress = make_progress(10, Console(file=file))
    assert isinstance(progress, PlainProgress)
    progress.note("resumed after step 5 [kept]")
    assert file.getvalue() == "resumed after step 5 [kept]\n"


def test_terminal_shows_a_bar() -> None:
    file = io.StringIO()
    progress = make_progress(500, Console(file=file, force_terminal=True, width=160, color_system=None))
    assert isinstance(progress, LiveProgress)
    progress.stage("round [1]")
    progress.advance(40)
    progress.report(50, {"seg": 0.91}, 12.3)
    progress.score(31.24)
    progress.note("resumed [here]")
    progress.close()
    progress.close()
    shown = file.getvalue()
    for text in ("round [1]", "50/500", "ETA", "seg 0.91", "12.3 images/s", "mIoU 31.2", "resumed [here]"):
        assert text in shown
