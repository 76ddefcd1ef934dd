"""What to type next, as text, and addresses as others may see them.

This stays free of `hpopt_envs`, which brings numpy and gymnasium: `--help` needs it.
"""

import os
import re
import shlex
from urllib.parse import quote, unquote

TRACKING_URI, EXPERIMENT = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"  # MLflow's variables


def ui_command(runs: str, tracking_uri: str | None) -> str:
    """Return what to type to look at a record."""
    if tracking_uri and tracking_uri != os.environ.get(TRACKING_URI):
        return f"python -m hpopt ui --tracking-uri {shlex.quote(without_password(tracking_uri))}"
    return "python -m hpopt ui" + _in(runs)


def resume_command(name: str, runs: str) -> str:
    """Return what to type to go on with a study."""
    return f"python -m hpopt resume {shlex.quote(name)}{_in(runs)}"


def _in(runs: str) -> str:
    return "" if runs == "runs" else f" --runs {shlex.quote(runs)}"


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
    known = os.environ.get(TRACKING_URI, "")
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


def record_note(uri: str | None, experiment: str | None) -> str | None:
    """Return where the record goes, where MLflow's own variables say so; else None.

    Args:
        uri: the tracking URI that was asked for.
        experiment: the experiment's name that was asked for.
    """
    told = []
    if uri and uri == os.environ.get(TRACKING_URI):
        told.append(f"{without_password(uri)} (from {TRACKING_URI})")
    if experiment and experiment == os.environ.get(EXPERIMENT):
        told.append(f"experiment {experiment} (from {EXPERIMENT})")
    return f"record: MLflow {', '.join(told)}" if told else None


_FILE = "sqlite:///"
_SERVER_USER = re.compile(r"//[^/?#]*@")
_DATABASE_USER = re.compile(r"//[^?]*@")
_ANY_USER = re.compile(r"//.*@", re.DOTALL)  # a wrong URI's password may have any character
_QUERY = re.compile(r"([?&;][^=&;]*=)([^&;#]*)")
_SECRET = re.compile(
    r"(?<=[?&;])[^=&;]*(?:pass|pwd|secret|token|key|cred|auth|sig)[^=&;]*=[^&;#]*[&;]?",
    re.IGNORECASE,
)
