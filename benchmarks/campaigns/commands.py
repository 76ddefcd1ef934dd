"""Every option of every command with hostile values: an answer in a line, and never a traceback."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from hpopt.cli.entry import COMMANDS

from . import studies
from .forked import Ran, forked
from .mutation import mutated

WHAT = "command lines: every option with hostile values"
COUNT = 3000
SECRET = "hunter2"
SECONDS = 30.0  # after which what still runs counts as accepted
LONGEST = 1000  # characters of a line

DIGITS = "9" * 5000
VALUES = (
    *("", " ", "0", "-1", "1", "3", "0.5", "nan", "inf", "-inf", "1e400", "1e-320", DIGITS),
    "9" * 30,
    *("0x10", "1_000", "１２", "٣", "true", "none", "null", "auto", "[]", "{}", "--", "-", "@file"),
    "~",
    *("=", "a=", "=1", "a=b", "a=1,a=2", ",", ",,", "a,b", ":", "a:b", "a.b:c", "+", "+median"),
    "a+b",
    *("../x", ".", "..", "/dev/null", "/dev/full", "/proc/x", "a/b", "\n", "a\nb", "\x1b[2J"),
    *("é", "\u202e\u2028", "\ud800", "\udcff", "x" * 300, "x" * 100_000, "%s", "%(prog)s", "{0}"),
    "$HOME",
    *("learning_rate=1e-3", "learning_rate=nan", "learning_rate=-1", f"learning_rate={DIGITS}"),
    *("batch_size=3", "batch_size=all", "batch_size=1e99", "optimizer=os:system", "lora_rank=0"),
    *("tpe", "tpe+median", "tpe-cold", "portfolio", "lm", "simulated", "otter", "os:getcwd"),
    "builtins:print",
    *("regex:(", "regex:(a+)+$", f"length:{DIGITS}", "model:", "regex:a=0.5", "table:rows.csv"),
    "table:",
    *("rows é 'q' %s.csv", "rows.csv", "space.toml", "broken.toml", "config.toml", "missing.csv"),
    *(f"http://me:{SECRET}@localhost:1/", f"http://me:{SECRET}@[::1", f"ftp://me:{SECRET}@h/x"),
    *(f"postgresql://me:{SECRET}@h:bad/x", f"sqlite:////proc/x?password={SECRET}", "http://a\nb"),
)
NAME = "NAME"  # stands for the study's own, among the options
SMALL = ["--task", "simulated", "--trials", "1", "--confirm-seeds", "0", "--trial-tokens", "8192"]
BASE = {
    "search": ["--dry-run", *SMALL, "--agent", "random"],
    "compare": [*SMALL, "--agents", "random", "--against", "random", "--seeds", "1"],
    "resume": ["otter"],
    "report": ["otter"],
    "export": ["otter", "--to", "json"],
}
# Tasks that take options which the simulated one refuses.
TASKS = {
    "classify": "train-file validation-file test-file dataset dataset-config text-column "
    "label-column class-weights too-long sequence-length objective trust-remote-code device",
    "lm": "model retain-file messages-column forgetting-weight precision gradient-checkpointing "
    "chat-template-kwargs",
    "text2text": "prompt-column completion-column prompt-template completion-template",
    "dpo": "chosen-column rejected-column",
    "align": "reward constraint max-new-tokens samples-per-prompt max-divergence",
}
COLUMNS = "text,label,prompt,completion,chosen,rejected"
ROWS = "".join(f"words {n},{n % 3},say {n},{n},is {n},no {n}\n" for n in range(40))
SPACE = '[parameters.learning_rate]\ntype = "float"\nlow = 0.1\nhigh = 1.0\ndefault = 0.5\n'
CONFIG = 'task = "simulated"\ntrials = 2\nseed = 1\nagent = "random"\n[fix]\nlearning_rate = 1e-3\n'
FILES = {
    "rows é 'q' %s.csv": f"{COLUMNS}\n{ROWS}",
    "rows.csv": f"{COLUMNS}\n{ROWS}",
    "space.toml": SPACE,
    "broken.toml": "a = [",
    "config.toml": CONFIG,
}
# What takes seconds where it is accepted: some of the values.
SLOW = ("compare", "resume", "ui")
SHARE = 0.04
REAL = 0.2  # of the values of options that only tasks which train take
CONFIGS = 500  # lines with a file of settings, which is changed each time
RECORD = ("--runs", "--name", "--experiment", "--tracking-uri", "--track")  # of no dry run


def case(seed: int, folder: Path) -> Iterator[str]:
    """Try a line; consecutive seeds go through all of them, in a fixed random order."""
    command, option, value = _lines()[seed % len(_lines())]
    draw, here = Random(seed), folder / "a" / "b"
    studies.put(studies.frames("random", 0)[-1], here / "runs")
    for name, text in FILES.items():
        (here / name).write_text(text, encoding="utf-8")
    words = [command, *BASE.get(command, [])]
    tasks = [task for task, options in TASKS.items() if option[2:] in options.split()]
    if command == "search" and tasks:
        words = _real(tasks[0], option)
    if option == "--config" and value in FILES:
        (here / value).write_bytes(mutated(CONFIG.encode(), draw))
        words = ["search", "--dry-run", option, value]
    elif option == NAME:
        words[1] = value
    else:
        joined = value.startswith("-") or draw.random() < 0.8
        words += [f"{option}={value}"] if joined else [option, value]
    if option in RECORD and draw.random() < SHARE:
        words = [word for word in words if word != "--dry-run"]
    wrong = _wrong(forked(words, here, SECONDS), secret=option == "--tracking-uri")
    yield wrong and f"{command} {option} {value[:60]!r}: {wrong}"


def _real(task: str, option: str) -> list[str]:
    """Return a dry run of a task that trains, with rows of the user where options need them."""
    words = ["search", "--dry-run", "--task", task, "--agent", "random", "--trials", "1"]
    if task in ("align", "lm") or option in ("--train-file", "--dataset"):
        return words
    return [*words, "--train-file", "rows.csv"]


@cache
def _lines() -> tuple[tuple[str, str, str], ...]:
    """Return commands, options and values in a random order."""
    draw = Random(0)
    lines = []
    for command in COMMANDS:
        with TemporaryDirectory() as folder:
            text = forked([command, "--help"], Path(folder), SECONDS).out
        options = [
            o for o in dict.fromkeys(re.findall(r"^  (--[a-z-]+)", text, re.M)) if o != "--help"
        ]
        if command in ("resume", "report", "export"):
            options.append(NAME)
        for option in options:
            real = any(option[2:] in options.split() for options in TASKS.values())
            share = SHARE if command in SLOW else REAL if real else 1.0
            values = [value for value in VALUES if draw.random() < share]
            lines += [(command, option, value) for value in values]
    lines += [("search", "--config", "config.toml")] * CONFIGS
    draw.shuffle(lines)
    return tuple(lines)


def _wrong(ran: Ran, secret: bool) -> str:
    """Return what a command did that it shouldn't; "" where nothing.

    Args:
        ran: the command.
        secret: whether it was given a password where one may be.
    """
    said = ran.out + ran.err
    if secret and SECRET in said:
        return f"shows the password: {said[-300:]!r}"
    if "Traceback (most recent call last)" in said:
        return f"status {ran.status}, a traceback: {said.strip()[-300:]!r}"
    if ran.status not in (None, 0, 1, 2):
        return f"status {ran.status}: {said[-300:]!r}"
    if ran.status == 2:
        is_line = ran.err.startswith("hpopt: ") and ran.err[:-1].isprintable()
        if not is_line or not ran.err.endswith("\n") or len(ran.err) > LONGEST:
            return f"not a line: {ran.err[:300]!r} ({len(ran.err)} characters)"
    return ""
