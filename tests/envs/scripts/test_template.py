"""A command's placeholders, and quoting: what stands for them is never seen by a shell."""

import pytest

from hpopt_envs import WorldError
from hpopt_envs.scripts.template import Template, command_line
from hpopt_envs.settings import Script


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("run --lr {rate}", ["run", "--lr", "1e-05"]),
        ("run --lr={rate} --note='a b'", ["run", "--lr=1e-05", "--note=a b"]),
        ('run "{{rate: {rate}}}"', ["run", "{rate: 1e-05}"]),
        ("run {text}", ["run", "$(touch x); 'a' \"b\" {rate} *"]),
        ("run {text}{flag}", ["run", "$(touch x); 'a' \"b\" {rate} *true"]),
        ("run ''", ["run", ""]),
    ],
)
def test_values_are_put_into_arguments_as_they_are(command: str, arguments: list[str]) -> None:
    text = "$(touch x); 'a' \"b\" {rate} *"
    values = {"rate": 1e-5, "text": text, "flag": True}
    assert Template.of(command).filled(values) == arguments


def test_the_command_to_type_is_quoted() -> None:
    assert command_line("run '{a}' {b}", {"a": "x y", "b": 3}) == "run 'x y' 3"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("run {", "braces in pairs"),
        ("run }", "braces in pairs"),
        ("run {}", "a name alone in braces"),
        ("run {rate:.2e}", "but got {rate:.2e}"),
        ("run {rate!r}", "but got {rate!r}"),
        ("run {a.b}", "but got {a.b}"),
    ],
)
def test_other_braces_are_refused(command: str, words: str) -> None:
    with pytest.raises(WorldError, match="command: must have") as error:
        _ = Script(command=command).placeholders
    assert words in str(error.value)


@pytest.mark.parametrize("command", ["run 'a", "  "])
def test_a_command_is_quoted_as_for_a_shell(command: str) -> None:
    with pytest.raises(WorldError, match="command: must be"):
        Template.of(command)
