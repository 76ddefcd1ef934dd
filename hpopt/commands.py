"""What to type next, as text.

This stays free of `hpopt_envs`, which brings numpy and gymnasium: `--help` needs it.
"""

import re


def ui_command(runs: str, tracking_uri: str | None) -> str:
    """Return what to type to look at a record."""
    command = "python -m hpopt ui"
    if tracking_uri:
        return f"{command} --tracking-uri {without_password(tracking_uri)}"
    return command if runs == "runs" else f"{command} --runs {runs}"


def resume_command(name: str, runs: str) -> str:
    """Return what to type to go on with a study."""
    return f"python -m hpopt resume {name}" + ("" if runs == "runs" else f" --runs {runs}")


def without_password(uri: str) -> str:
    """Return a URI as others may see it."""
    return re.sub(r"//[^/@]*@", "//***@", uri)
