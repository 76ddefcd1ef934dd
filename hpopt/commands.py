"""What to type next, as text.

This stays free of `hpopt_envs`, which brings numpy and gymnasium: `--help` needs it.
"""

import os
import re
from urllib.parse import quote, unquote


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
    """Return a URI as others may see it: user, password and what its query says are hidden."""
    if uri.startswith(_FILE):  # a name may have any character
        return uri
    return _QUERY.sub(r"\1***", _ANY_USER.sub("//***@", uri))


def without_credentials(uri: str) -> str:
    """Return a URI as it is kept in files: user, password and secrets in its query are left out."""
    if uri.startswith(_FILE):
        return uri
    server = uri.startswith(("http://", "https://"))
    return _SECRET.sub("", (_SERVER_USER if server else _DATABASE_USER).sub("//", uri))


def with_credentials(uri: str) -> str:
    """Return a URI that was kept as `MLFLOW_TRACKING_URI` has it, where that is the same place."""
    known = os.environ.get("MLFLOW_TRACKING_URI", "")
    return known if without_credentials(known) == uri else uri


def censored(text: str, uri: str) -> str:
    """Return a text without what of a URI others mustn't see."""
    user_and_password = (_ANY_USER.search(uri) or [""])[0][2:-1]
    if uri.startswith(_FILE):
        return text
    parts = [uri, user_and_password, user_and_password.partition(":")[2]]
    parts += user_and_password.split(":")[1:]  # of a wrong one
    parts += [value for _, value in _QUERY.findall(uri)]
    for part in parts:
        for form in (part, quote(part, safe=""), unquote(part)):
            if len(form) > 2:
                shown = without_password(uri) if form == uri else "***"
                text = text.replace(form, shown)
    return text


_FILE = "sqlite:///"
_SERVER_USER = re.compile(r"//[^/?#]*@")
_DATABASE_USER = re.compile(r"//[^?]*@")
_ANY_USER = re.compile(r"//.*@", re.DOTALL)  # a wrong URI's password may have any character
_QUERY = re.compile(r"([?&;][^=&;]*=)([^&;#]*)")
_SECRET = re.compile(
    r"(?<=[?&;])[^=&;]*(?:pass|pwd|secret|token|key|cred|auth|sig)[^=&;]*=[^&;#]*[&;]?",
    re.IGNORECASE,
)
