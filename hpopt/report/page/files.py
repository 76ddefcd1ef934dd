"""Pages as files, and the script that draws their figures: one of 4.8 MB in each runs folder."""

import os
import re
from pathlib import Path

from ...record.files import write_whole
from ...record.folders import MANIFEST

_ELEMENT = re.compile(r'<script src="[^"]*" onerror="[^"]*"></script>')


def shared_script(page: Path) -> str:
    """Return the HTML that loads the script from a page's runs folder, written where it is missing.

    Args:
        page: in the folder of a study or of a comparison.
    """
    from plotly.offline import get_plotlyjs, get_plotlyjs_version  # type: ignore[import-untyped]

    folder = Path(os.path.abspath(page.parent))  # made of names alone, as a browser does it
    up = 2 if (folder.parent / MANIFEST).is_file() else 1  # a comparison's study is a floor deeper
    script = folder.parents[up - 1] / f"plotly-{get_plotlyjs_version()}.min.js"
    if not script.is_file():
        write_whole(script, get_plotlyjs())
    where = "../" * up + script.name
    return (
        '<p class="warning" hidden>The figures are missing: the file that draws them must be at '
        f"{where}, seen from this page; python -m hpopt report writes both again.</p>"
        f'<script src="{where}" onerror="this.previousElementSibling.hidden = false"></script>'
    )


def self_contained(page: Path) -> str:
    """Return the text of a page with the script inside, for those who can't reach its folder."""
    from plotly.offline import get_plotlyjs

    inline = f"<script>{get_plotlyjs()}</script>"
    return _ELEMENT.sub(lambda _: inline, page.read_text(encoding="utf-8"), count=1)
