"""The journal keeps what was written, whatever happens to its writer."""

import json
import math
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from hpopt.errors import StudyError
from hpopt.record.journal import Journal, JournalReader, read_events
from hpopt.record.lines import encode_line

HEADER = {"event": "study", "name": "otter"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "otter" / "journal.jsonl"


def written(path: Path, count: int) -> bytes:
    """A closed journal of a header and `count` events; returns its bytes."""
    with Journal.create(path, HEADER) as journal:
        for index in range(count):
            journal.append({"event": "decision", "index": index})
    return path.read_bytes()


def test_lines_are_numbered_json_with_a_checksum_of_all_so_far(path: Path) -> None:
    written(path, 2)
    covered = ""
    for index, line in enumerate(path.read_text(encoding="ascii").splitlines()):
        number, checksum, text = line.split(" ", 2)
        assert number == str(index)
        covered += f"{number} {text}"
        assert checksum == format(zlib.crc32(covered.encode()), "08x")
        assert json.loads(text)["time"] > 1.7e9


@pytest.mark.parametrize("before", [0, 2, 4])  # lines that a version before 0.3 wrote
def test_lines_left_out_doubled_or_moved_are_refused(path: Path, before: int) -> None:
    old = b"".join(encode_line({"event": "x", "index": i, "time": 0.0}) for i in range(before))
    if before:
        path.parent.mkdir()
        path.write_bytes(encode_line({**HEADER, "time": 0.0}) + old)
        with Journal.open(path) as journal:
            for index in range(6 - before):
                journal.append({"event": "x", "index": index})
    else:
        written(path, 6)
    lines = path.read_bytes().splitlines(keepends=True)
    changed = []
    # What was added last can't be missed, and an old line after old ones is in its place.
    for one in range(before, len(lines) - 1):
        changed.append([*lines[:one], *lines[one + 1 :]])
        for other in range(one + 1, len(lines)):
            moved = lines.copy()
            moved[one], moved[other] = moved[other], moved[one]
            changed.append(moved)
    for one in range(len(lines)):
        for where in range(before + 1, len(lines) + 1):
            changed.append([*lines[:where], lines[one], *lines[where:]])
    assert len(changed) > 20
    for others in changed:
        path.write_bytes(b"".join(others))
        with pytest.raises(StudyError, match=r"line \d of .*journal.jsonl"):
            list(read_events(path))
    path.write_bytes(b"".join(lines))
    assert len(list(read_events(path))) == len(lines)


def take_away(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def add_to(path: Path) -> None:
    path.write_bytes(path.read_bytes() * 2)


def move_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("heron"))


@pytest.mark.parametrize(
    ("what", "change"),
    [
        *(("journal.jsonl", change) for change in (take_away, replace, link, cut, add_to)),
        *(("lock", change) for change in (take_away, replace, link, move_folder)),
    ],
)
def test_what_others_do_to_a_journal_in_use_is_noticed(
    what: str, change: Callable[[Path], None], path: Path
) -> None:
    with Journal.create(path, HEADER) as journal:
        journal.append({"event": "x"})
        change(path.parent / what)
        there = {p: p.read_bytes() for p in path.parents[1].rglob("*") if p.is_file()}
        for _ in range(2):
            with pytest.raises(StudyError, match="otter.*nothing more is written"):
                journal.append({"event": "x"})
        assert {p: p.read_bytes() for p in path.parents[1].rglob("*") if p.is_file()} == there


def test_a_journal_that_is_a_link_is_not_written_through(path: Path) -> None:
    before = written(path, 1)
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    with pytest.raises(StudyError, match="can't be written"):
        Journal.open(path)
    assert path.read_bytes() == before


def test_events_come_back_in_order_non_finite_numbers_included(path: Path) -> None:
    with Journal.create(path, HEADER) as journal:
        event = journal.append(
            {"event": "x", "text": "β\n\u2028", "loss": math.inf, "norm": 1e-308}
        )
        journal.append({"event": "x", "loss": math.nan})
    header, first, second = read_events(path)
    assert header["name"] == "otter"
    assert first == event
    assert math.isnan(second["loss"])


def test_every_cut_leaves_the_whole_lines_before_it_and_can_be_gone_on_with(path: Path) -> None:
    whole = written(path, 2)
    first_end = whole.index(b"\n") + 1
    for cut in range(first_end, len(whole)):
        path.write_bytes(whole[:cut])
        complete = whole[:cut].count(b"\n")
        assert len(list(read_events(path))) == complete
        with Journal.open(path) as journal:
            assert len(journal.events) == complete
            journal.append({"event": "after"})
            journal.append({"event": "later"})
        events = [event["event"] for event in read_events(path)]
        assert events == [*["study", "decision"][:complete], "resumed", "after", "later"]


def test_a_last_line_of_garbage_is_torn_too(path: Path) -> None:
    whole = written(path, 1)
    for garbage in (b"\0" * 40, b"\0" * 40 + b"\n", b'00000000 {"event":"x"}\n', b"\n"):
        path.write_bytes(whole + garbage)
        assert len(list(read_events(path))) == 2
        Journal.open(path).close()
        assert path.read_bytes() == whole


@pytest.mark.parametrize("line", [1, 2, 3])
def test_a_changed_line_before_the_last_is_refused_with_its_number(path: Path, line: int) -> None:
    lines = written(path, 3).splitlines(keepends=True)
    lines[line - 1] = lines[line - 1].replace(b'"event"', b'"evenT"')
    path.write_bytes(b"".join(lines))
    for use in (lambda: list(read_events(path)), lambda: Journal.open(path)):
        with pytest.raises(StudyError, match=f"line {line} of .*journal.jsonl"):
            use()


def test_a_reader_sees_each_event_once_and_no_half_of_one(path: Path) -> None:
    whole = written(path, 5)
    path.write_bytes(b"")
    reader, seen = JournalReader(path), []
    for start in range(0, len(whole), 7):
        with path.open("ab") as file:
            file.write(whole[start : start + 7])
        seen += reader.poll()
    assert [event.get("index") for event in seen] == [None, 0, 1, 2, 3, 4]
    assert reader.poll() == []


def test_a_second_process_is_refused_until_the_first_has_closed(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from hpopt.errors import StudyError\n"
        "from hpopt.record.journal import Journal\n"
        "try: Journal.open(Path(sys.argv[1])).close()\n"
        "except StudyError as error: sys.exit(str(error))"
    )
    command = [sys.executable, "-c", code, str(path)]
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    with Journal.create(path, HEADER):
        second = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert second.returncode == 1
        assert "study 'otter' is in use by another process" in second.stderr
        assert second.stderr.count("\n") == 1
    assert subprocess.run(command, env=environment).returncode == 0


def test_a_killed_process_leaves_the_study_free_and_loses_nothing(path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from hpopt.record.journal import Journal\n"
        "journal = Journal.create(Path(sys.argv[1]), {'event': 'study'})\n"
        "for index in range(100): journal.append({'event': 'x', 'index': index})\n"
        "os.kill(os.getpid(), 9)"
    )
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    killed = subprocess.run([sys.executable, "-c", code, str(path)], env=environment)
    assert killed.returncode == -9
    with Journal.open(path) as journal:
        assert [event["index"] for event in journal.events[1:]] == list(range(100))


def test_a_full_disk_leaves_whole_lines(path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from hpopt.record.journal import Journal\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "journal = Journal.create(Path(sys.argv[1]), {'event': 'study'})\n"
        "while True: journal.append({'event': 'x', 'text': 'a' * 50})"
    )
    environment = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    command = [sys.executable, "-c", code, str(path)]
    full = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert "Paused: the journal" in full.stderr
    assert "can't grow" in full.stderr
    data = path.read_bytes()
    assert data.endswith(b"\n")
    assert len(list(read_events(path))) == data.count(b"\n") > 5


def test_a_taken_name_is_refused_with_the_way_on(path: Path) -> None:
    whole = written(path, 1)
    with pytest.raises(StudyError, match="'otter' is taken.*hpopt resume otter --runs "):
        Journal.create(path, HEADER)
    assert path.read_bytes() == whole


def test_a_study_that_does_not_exist_is_refused(path: Path) -> None:
    with pytest.raises(StudyError, match="no study 'otter'"):
        Journal.open(path)
    assert not path.parent.exists()


def test_a_journal_without_its_header_is_refused(path: Path) -> None:
    whole = written(path, 0)
    path.write_bytes(whole[:-1])
    with pytest.raises(StudyError, match="must begin with its study"):
        Journal.open(path)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="can't be written"):
        Journal.create(tmp_path / "file" / "otter" / "journal.jsonl", HEADER)
