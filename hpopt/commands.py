"""What to type next, as text, and addresses as others may see them.

This stays free of `hpopt_envs`, which brings numpy and gymnasium: `--help` needs it.
"""

import os
import re
import shlex
from urllib.parse import unquote, urlsplit

TRACKING_URI, EXPERIMENT = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"  # MLflow's variables
_SECRET_FIELDS = r"(?i)([?&](?:password|passwd|pwd|token|access_token|secret|api_key)=)[^&\s'\"]+"


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
    """Return a URI as others may see it."""
    return without_secrets(uri, uri)


def without_secrets(told: str, uri: str) -> str:
    """Return a text without what is secret in a URI, wherever and however it stands there.

    Args:
        told: the text, such as an error about the URI.
        uri: the URI.
    """
    userinfo = _userinfo(uri)
    if userinfo:
        password = userinfo.partition(":")[2]
        told = told.replace(f"{userinfo}@", "***@")
        for form in {password, unquote(password)} - {""}:
            told = told.replace(form, "***")
    told = re.sub(r"://[^/@\s]+@", "://***@", told)
    return re.sub(_SECRET_FIELDS, r"\1***", told)


def _userinfo(uri: str) -> str:
    """Return "user:password" of a URI; a password may have any character, "/" and "@" too."""
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme.startswith("sqlite") or "@" not in rest:
        return ""
    proper = urlsplit(uri).netloc.rpartition("@")[0]
    return proper if proper and "@" not in rest[len(proper) + 1 :] else rest.rpartition("@")[0]


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
