"""MLflow's pages in a real browser: what somebody who compares searchers looks at."""

import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import hpopt
from hpopt.comparison.compare import compare, open_comparison
from hpopt.comparison.settings import ComparisonSettings
from hpopt.tracking import links

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
    hpopt.search(**SMALL, track="trials", name="weasel", experiment="weasels", runs=str(folder))
    return folder


@pytest.fixture(scope="module")
def address(runs: Path) -> Iterator[str]:
    """Of MLflow's user interface, as `hpopt ui` serves it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "hpopt", "ui", "--runs", str(runs), "--port", str(port)]
    with (runs / "ui.log").open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.DEVNULL)
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
def served(runs: Path, address: str) -> str:
    """What `hpopt ui` says."""
    assert address
    return (runs / "ui.log").read_text()


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
    (run,) = client.search_runs(["1", "2"], f"attributes.run_name = '{name}'")
    return str(run.info.run_id)


def lines_of(browser: Any, metric: str) -> dict[str, str]:
    """Colour by run of the lines on the chart of a metric; {} while there is none."""
    found: dict[str, str] = browser.execute_script(
        """
        for (const chart of document.querySelectorAll('.js-plotly-plot')) {
            const drawn = [...chart.querySelectorAll('.scatterlayer .trace')];
            const lines = (chart.data || []).map((trace, place) => [trace, drawn[place]]);
            const own = lines.filter(([trace, line]) => trace.metricKey === arguments[0] && line);
            const stroke = line => line.querySelector('path')?.style.stroke;
            if (own.length)
                return Object.fromEntries(own.map(([trace, line]) => [trace.name, stroke(line)]));
        }
        return {};
        """,
        metric,
    )
    return found


def has_lines(browser: Any, metric: str, number: int) -> bool:
    return len(lines_of(browser, metric)) == number


def test_a_chart_has_a_line_for_each_searcher(browser: Any, runs: Path, address: str) -> None:
    port = int(address.rpartition(":")[2])
    browser.get(links.chart(links.pages(f"sqlite:///{runs / 'mlflow.db'}", port), "1"))
    for metric in ("normalised_regret", "best_so_far"):
        assert wait_for(partial(has_lines, browser, metric, 3))
        assert set(lines_of(browser, metric)) == {"tpe", "default", "random"}
        assert len(set(lines_of(browser, metric).values())) == 3
    names = [e.text for e in browser.find_elements("css selector", "[role=row] a")]
    assert [name for name in names if name] == ["tpe", "default", "random", "verdict otters"]


def test_studies_lie_beside_each_other_while_they_run(browser: Any, address: str) -> None:
    port = int(address.rpartition(":")[2])
    browser.get(links.studies(links.pages("sqlite:///", port), "1"))
    assert wait_for(partial(has_lines, browser, "best_value", 3))
    assert has_text(browser, "simulated.tpe.0", "simulated.random.0", "simulated.default.0")


def test_a_study_shows_its_answer_and_its_trials(browser: Any, address: str, runs: Path) -> None:
    port = int(address.rpartition(":")[2])
    browser.get(links.run(links.pages("sqlite:///", port), "2", run_id(runs, "weasel")))
    wanted = ("Child runs", "trial 0", "trial 2", "default on fresh seed 0", "best_value")
    answer = ("Recommended:", "On the test split:", "recommended.learning_rate", "3 runs")
    assert wait_for(lambda: has_text(browser, *wanted, *answer))


def test_every_link_of_the_user_interface_leads_to_runs(browser: Any, served: str) -> None:
    found = re.findall(r"http\S+", served)
    assert len(found) > 2
    for link in found[1:]:
        browser.get("about:blank")
        browser.get(link)
        assert wait_for(lambda: has_text(browser, "matching runs"))


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
