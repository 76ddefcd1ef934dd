"""The report's page in a real browser, from the disk: figures appear, the console stays empty."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hpopt.record.history import History
from hpopt.report.page.files import self_contained
from hpopt.report.page.study import write_study_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SILENT = '<p class="warning" hidden="">The figures are missing'
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=5000",
]


def opened(page: Path, profile: Path) -> tuple[str, list[str]]:
    """A page's document once its scripts have run, and the lines of its console."""
    assert CHROMIUM is not None
    told = ["--enable-logging=stderr", "--v=0", "--dump-dom", f"--user-data-dir={profile}"]
    ended = subprocess.run(
        [CHROMIUM, *QUIET, *told, page.as_uri()], capture_output=True, text=True, timeout=120
    )
    return ended.stdout, [line for line in ended.stderr.splitlines() if ":CONSOLE" in line]


@pytest.mark.skipif(CHROMIUM is None, reason="Debian's package chromium isn't installed")
def test_the_figures_appear_without_a_word_on_the_console(
    every_ending: list[dict[str, Any]], tmp_path: Path
) -> None:
    history = History()
    for event in every_ending:
        history.apply({"name": "</script><script>undefined_name()</script>", **event})
    (tmp_path / "otter").mkdir()
    page = write_study_report(history, None, tmp_path / "otter" / "report.html")
    document, console = opened(page, tmp_path / "profile")
    assert console == []
    drawn = document.count('class="main-svg"')
    assert drawn >= page.read_text().count('class="plotly-graph-div"') > 0
    assert SILENT in document

    broken = page.with_name("broken.html")  # would this test hear of an error?
    broken.write_text(page.read_text().replace("</body>", "<script>nothing()</script></body>"))
    assert len(opened(broken, tmp_path / "profile")[1]) == 1

    alone = tmp_path / "alone.html"
    alone.write_text(self_contained(page), encoding="utf-8")
    (script,) = tmp_path.glob("plotly-*")
    script.unlink()
    document, console = opened(alone, tmp_path / "profile")
    assert (document.count('class="main-svg"'), console) == (drawn, [])
    assert SILENT in document
    document, _ = opened(page, tmp_path / "profile")
    assert SILENT not in document
    assert '<p class="warning">The figures are missing' in document
