"""Which snapshots a study keeps: the newest of each open trial, the best trial's last."""

import shutil
import time
from pathlib import Path

from hpopt_envs.records import Trial

from ..errors import StudyError

EVERY_SEGMENT_BYTES = 256 * 2**20  # snapshots up to this size are written after every segment
SECONDS_BETWEEN = 600.0  # larger ones this often


class SnapshotFolder:
    """Names, finds and deletes snapshots; the workers write them.

    A file's name says after how many segments of which trial it was taken. The one before is
    deleted only when the journal has the segment, so that one of the two always fits the journal.

    Raises:
        StudyError: the folder is a link.
    """

    def __init__(self, folder: Path) -> None:
        if folder.is_symlink():
            raise StudyError(f"{folder} must be a folder of the study's own, but is a link")
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._bytes = 0
        self._written: dict[int, float] = {}

    def next_path(self, trial: Trial, last: bool) -> Path | None:
        """Return where the next segment of a trial is to be saved; None where it is too soon.

        Args:
            trial: before the segment.
            last: the trial ends after it or may be paused there: save it in any case.
        """
        since = time.monotonic() - self._written.get(trial.id, float("-inf"))
        if self._bytes > EVERY_SEGMENT_BYTES and not last and since < SECONDS_BETWEEN:
            return None
        return self._path(trial.id, len(trial.segments) + 1)

    def wrote(self, trial: Trial, path: str) -> None:
        """Note a snapshot whose segment is in the journal, and delete the trial's others."""
        self._bytes = Path(path).stat().st_size
        self._written[trial.id] = time.monotonic()
        self.keep_only(trial.id, Path(path))

    def newest(self, trial: Trial) -> tuple[int, Path | None]:
        """Return the newest snapshot that isn't ahead of the journal, and its segments."""
        for segments in range(len(trial.segments), 0, -1):
            path = self._path(trial.id, segments)
            if path.is_file():
                return segments, path
        return 0, None

    def keep_only(self, trial: int, path: Path | None = None) -> None:
        """Delete a trial's snapshots but for one."""
        for file in self._folder.glob(f"trial-{trial:07d}-*"):
            if file != path:
                file.unlink()

    def clear(self) -> None:
        """Delete them all, and their folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, trial: int, segments: int) -> Path:
        return self._folder / f"trial-{trial:07d}-{segments:04d}.safetensors"
