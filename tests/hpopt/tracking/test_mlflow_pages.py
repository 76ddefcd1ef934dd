"""MLflow's pages in a real browser: what somebody who compares searchers looks at."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hpopt
from hpopt.comparison.compare import compare, open_comparison
from hpopt.comparison.settings import ComparisonSettings

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        shutil.which("chromium") is None or shutil.which("chromedriver") is None,
        reason="Debian's packages chromium and chromium-driver aren't installed",
    ),
]
SECONDS = 60.0  # that a page may take
SMALL = {"task": "simulated", "trial_tokens": 4 * 4096, "trials": 3, "confirm_seeds": 1}
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--window-size=1500,1100"),
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a comparison, and of a study with runs for its trials beside it."""
    folder = tmp_path_factory.mktemp("runs")
    asked = SMALL | {"agents": ("tpe",), "seeds": 1, "name": "otters", "runs": str(folder)}
    settings = ComparisonSettings.of(asked)
    compare(settings, open_comparison(settings), lambda line: None)
    hpopt.search(**SMALL, track="trials", name="weasel", experiment="otters", runs=str(folder))
    return folder


@pytest.fixture(scope="module")
def address(runs: Path) -> Iterator[str]:
    """Of MLflow's user interface, as `hpopt ui` serves it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "hpopt", "ui", "--runs", str(runs), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    where = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(where, timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield where
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for option in OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(str(shutil.which("chromedriver")))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


def wait_for(found: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if found():
            return True
        time.sleep(0.5)
    return False


def has_text(browser: Any, *texts: str) -> bool:
    shown = browser.find_element("tag name", "body").text
    return all(text in shown for text in texts)


def run_id(runs: Path, name: str) -> str:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{runs / 'mlflow.db'}")
    (run,) = client.search_runs(["1"], f"attributes.run_name = '{name}'")
    return str(run.info.run_id)


def test_a_chart_overlays_the_searchers(browser: Any, address: str) -> None:
    browser.get(f"{address}/#/experiments/1/runs?compareRunsMode=CHART")

    def drawn() -> bool:
        charts = browser.find_elements("css selector", ".js-plotly-plot")
        return any(len(c.find_elements("css selector", ".scatterlayer .trace")) > 2 for c in charts)

    assert wait_for(drawn)
    assert has_text(browser, "simulated.tpe.0", "simulated.random.0", "simulated.default.0")


def test_a_study_is_shown_with_its_trials(browser: Any, address: str, runs: Path) -> None:
    browser.get(f"{address}/#/experiments/1/runs/{run_id(runs, 'weasel')}")
    wanted = ("Child runs", "trial 0", "trial 2", "confirmation 0", "best_value")
    assert wait_for(lambda: has_text(browser, *wanted))


def test_the_verdict_says_where_its_report_is(browser: Any, address: str, runs: Path) -> None:
    browser.get(f"{address}/#/experiments/1/runs/{run_id(runs, 'verdict otters')}/artifacts")
    assert wait_for(lambda: has_text(browser, "verdict.json", "verdict.md"))
    browser.get(f"{address}/#/experiments/1/runs/{run_id(runs, 'verdict otters')}")
    assert wait_for(lambda: has_text(browser, "hpopt.report"))


def test_a_comparisons_page_has_nothing_to_say_on_the_console(browser: Any, runs: Path) -> None:
    browser.get_log("browser")
    browser.get((runs / "otters" / "report.html").as_uri())
    assert wait_for(lambda: bool(browser.find_elements("css selector", ".js-plotly-plot .trace")))
    assert browser.get_log("browser") == []
