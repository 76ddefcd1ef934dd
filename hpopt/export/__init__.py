"""What a study recommends, as code for a trainer; nothing of what is written imports hpopt."""

import json
from pathlib import Path

from ..errors import StudyError
from ..record.files import write_whole
from ..record.folders import StudyFolder
from ..record.recommended import Recommended

TARGETS = ("json", "transformers", "trl")


def export(name: str, runs: str, to: str, folder: Path | None) -> list[Path]:
    """Write the recommended schedule, as data or as code; return what was written.

    Args:
        name: of the study.
        runs: folder that studies are kept in.
        to: one of `TARGETS`.
        folder: to write into; None for `export` in the study's own.

    Raises:
        StudyError: there is no such study, or it recommends nothing; its schedule can't be
            expressed; or the folder can't be written.
        WorldError: data or model can't be had, where something of them is written beside code.
    """
    if to not in TARGETS:
        raise StudyError(f"--to: must be one of {', '.join(TARGETS)}, but got {to!r}")
    study = StudyFolder.find(name, runs, "export")
    recommended = Recommended.of(study.read(), "export")
    if recommended.command is not None and to != "json":
        raise StudyError(
            f"export: --to {to} is code for a trainer, but the study's is a command of your own; "
            "without --to, that is printed"
        )
    folder = study.export if folder is None else folder
    if to == "json":
        files = {"schedule.json": json.dumps(recommended.to_json(), indent=2) + "\n"}
    else:
        files = _code(recommended, to, folder.resolve())
    try:
        if study.export.is_symlink() and folder == study.export:
            raise StudyError(f"export: {folder} must be a folder of the study's own, but is a link")
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            write_whole(folder / file, text)
    except OSError as error:
        where = str(folder)[:200]
        raise StudyError(f"export: {where} can't be written: {error.strerror}") from None
    return [folder / file for file in files]


def command_of(name: str, runs: str) -> str:
    """Return the command that a study of one recommends.

    Args:
        name: of the study.
        runs: folder that studies are kept in.

    Raises:
        StudyError: there is no such study, or it recommends nothing; or it trained by itself.
    """
    history = StudyFolder.find(name, runs, "export").read()
    command = Recommended.of(history, "export").command
    if command is None:
        raise StudyError(f"--to: must be given, one of {', '.join(TARGETS)}, but isn't")
    return command


def _code(recommended: Recommended, to: str, folder: Path) -> dict[str, str]:
    """Return the files for a trainer; their text by name."""
    from .beside import beside
    from .code import code
    from .exported import Exported

    exported = Exported.of(recommended)
    return {f"{to}_schedule.py": code(exported, to, folder), **beside(exported)}


def summary(paths: list[Path]) -> str:
    """Return what was written, and where it says how to use it."""
    use = "" if paths[0].suffix == ".json" else f"; {paths[0].name} begins with how to use it"
    return f"Wrote {' and '.join(map(str, paths))}{use}."
