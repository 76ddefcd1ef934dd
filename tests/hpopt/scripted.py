"""A study that tells a script's events, and runs nothing."""

from pathlib import Path
from typing import Any

from hpopt.pool.local import LocalPool
from hpopt.record.history import History
from hpopt.record.journal import Journal
from hpopt.settings.study import Settings
from hpopt.study.open_study import OpenStudy
from hpopt_search_spaces import SearchSpace


def scripted(
    path: Path, header: dict[str, Any], history: History, space: SearchSpace, asked: Settings
) -> OpenStudy:
    """An open study with a journal of its header alone, on a pool that nobody asks for anything."""
    pool = LocalPool.__new__(LocalPool)
    pool.facts, pool.space = history.facts, space
    journal = Journal.create(path, {**header, "agent": asked.searcher.agent})
    journal.close()
    return OpenStudy(journal, pool, asked)
