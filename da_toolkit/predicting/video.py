"""The frames of a video, one after the other, by OpenCV."""

import os
from pathlib import Path

import cv2
import numpy as np

from da_toolkit.errors import UserError

_SHORT = 0.01  # share of the frames a container promises that may be missing: it often counts by duration and rate


class Video:
    """Frames in their order, upright; read by one thread at a time.

    Args:
        file: in a container and codec that OpenCV's FFmpeg knows.

    Raises:
        UserError: the file cannot be opened, or has no frames.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what is wrong is told in a sentence
        if not file.is_file():
            raise UserError(f"The video {file} does not exist.")
        self.capture = cv2.VideoCapture(str(file))
        if not self.capture.isOpened():
            what = "is empty" if file.stat().st_size == 0 else "holds no frames that can be read"
            raise UserError(
                f"The video {file} {what}: it is truncated or damaged, or of a codec that OpenCV does not know. Copy "
                "it again, or convert it to H.264 in .mp4."
            )
        self.count = max(0, int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        """Frames that the container promises; 0 where it does not know."""
        self.done = 0
        """Frames that were read or skipped."""
        self.ended = False

    def read(self) -> np.ndarray | None:
        """The next frame, uint8 RGB [H,W,3]; none after the last."""
        if not self._next():
            return None
        decoded, frame = self.capture.retrieve()
        if not decoded or frame is None or frame.ndim != 3:
            self.ended = True
            return None
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)

    def skip(self) -> bool:
        """Pass over the next frame. False after the last."""
        return self._next()

    def _next(self) -> bool:
        self.ended = self.ended or not self.capture.grab()
        self.done += not self.ended
        return not self.ended

    def close(self) -> None:
        """Raises `UserError` if there were no frames, or clearly fewer than the container promises."""
        self.capture.release()
        if self.done == 0:
            raise UserError(f"The video {self.file} has no frames. Record it again, or leave it out.")
        if self.count - self.done > max(1, _SHORT * self.count):
            raise UserError(
                f"The video {self.file} ends after {self.done} of {self.count} frames: it is truncated or damaged. "
                "The frames before are predicted; copy it again for the others."
            )
