"""Names that differ stay different in MLflow, and MLflow takes them."""

import re

from hypothesis import given
from hypothesis import strategies as st

from hpopt.tracking.names import key, text


def mlflow_takes(name: str) -> bool:
    from mlflow.exceptions import MlflowException
    from mlflow.utils.validation import _validate_metric_name

    try:
        _validate_metric_name(name)
    except MlflowException:
        return False
    return len(name) <= 250


def test_plain_names_stay_as_they_are() -> None:
    for name in ("learning_rate", "f1_joy", "f1_Ärger", "f1_好", "top-5 accuracy", "a.b"):
        assert key(name) == name


def test_names_that_mlflow_refuses_stay_apart() -> None:
    labels = [
        "C+",
        "C#",
        "C ",
        "C",
        "c/d",
        "c:d",
        "C*",
        "🙂",
        "🙁",
        ".",
        "..",
        "/",
        "",
        " ",
        "a//b",
    ]
    labels += ["x" * 300, "x" * 300 + "y", "\ud800", "\ud801", "a\nb", "a\tb", "e\u0301", "é"]
    for prefix in ("f1_", ""):
        names = [key(prefix + label) for label in labels]
        assert len(set(names)) == len(labels)
        assert all(mlflow_takes(name) for name in names)
    assert re.fullmatch(r"f1_C__[0-9a-f]{8}", key("f1_C+"))


@given(st.text(st.characters(), max_size=300))
def test_mlflow_takes_every_name_and_text(name: str) -> None:
    assert mlflow_takes(key(name))
    told = text(name, 100)
    assert len(told) <= 100
    assert "\0" not in told
    told.encode()
