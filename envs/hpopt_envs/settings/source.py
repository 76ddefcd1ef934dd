"""What a user may say of the data: files, columns, and what is made of them."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .fields import DATA, check_characters, check_names, setting
from .values import check_settings

# What every built-in task that reads rows takes.
OF_ROWS = ("train_file", "validation_file", "test_file", "dataset", "dataset_config", "too_long")


@dataclass(frozen=True)
class Source:
    """What the settings of a study say of its data; None where they say nothing.

    Built-in tasks name the ones that they take; what is in a column is for the task to say.
    """

    train_file: str | None = setting(
        None,
        "rows to train on: CSV, JSON lines, Parquet or text (default: the task's embedded data)",
        group=DATA,
        metavar="FILE",
    )
    validation_file: str | None = setting(
        None,
        "rows that searchers are judged by (default: a tenth of the training rows)",
        group=DATA,
        metavar="FILE",
    )
    test_file: str | None = setting(
        None,
        "rows that the end of a study is judged by (default: a tenth of the training rows)",
        group=DATA,
        metavar="FILE",
    )
    dataset: str | None = setting(
        None,
        "data set in place of files: a Hugging Face id, or a folder (default: none)",
        group=DATA,
        metavar="ID",
    )
    dataset_config: str | None = setting(
        None,
        "which configuration of the data set, where it has several (default: its own)",
        group=DATA,
        metavar="NAME",
    )
    retain_file: str | None = setting(
        None,
        "lm, text2text: rows of what the model is not to forget (default: what it writes itself)",
        group=DATA,
        metavar="FILE",
    )
    text_column: str | None = setting(
        None,
        "lm, classify: column of the texts; classify: or two, as in premise,hypothesis "
        "(default: text)",
        group=DATA,
        metavar="NAME",
    )
    label_column: str | None = setting(
        None,
        "classify: column of the classes (default: label)",
        group=DATA,
        metavar="NAME",
    )
    prompt_column: str | None = setting(
        None,
        "lm, text2text, align, dpo: column of what the model responds to (default: prompt)",
        group=DATA,
        metavar="NAME",
    )
    completion_column: str | None = setting(
        None,
        "lm, text2text: column of the texts to be written after a prompt (default: completion)",
        group=DATA,
        metavar="NAME",
    )
    messages_column: str | None = setting(
        None,
        "lm: column of chats, lists of messages with role and content (default: messages)",
        group=DATA,
        metavar="NAME",
    )
    chat_template_kwargs: str | None = setting(
        None,
        "lm, align, dpo: what chat templates get beside chats, such as "
        "'{\"enable_thinking\": false}' (default: nothing)",
        group=DATA,
        metavar="JSON",
    )
    packing: bool = setting(
        True,
        "lm: false: an example of plain text is a text, not a block of several (default: true)",
        group=DATA,
        metavar="B",
    )
    chosen_column: str | None = setting(
        None,
        "dpo: column of the preferred responses (default: chosen)",
        group=DATA,
        metavar="NAME",
    )
    rejected_column: str | None = setting(
        None,
        "dpo: column of the responses that others were preferred to (default: rejected)",
        group=DATA,
        metavar="NAME",
    )
    prompt_template: str | None = setting(
        None,
        "text2text: prompts made of columns, such as 'summarize: {document}' (default: a column)",
        group=DATA,
        metavar="TEXT",
    )
    completion_template: str | None = setting(
        None,
        "text2text: completions made of columns, such as '{translation[en]}' (default: a column)",
        group=DATA,
        metavar="TEXT",
    )
    reward: str | None = setting(
        None,
        "align: score of responses: pep257, regex:PATTERN, length:WORDS, model:ID[:LABEL], "
        "module:function (default: pep257)",
        group=DATA,
        metavar="SCORE",
    )
    constraint: Sequence[str] | None = setting(
        None,
        "align: mean of a score to reach, such as 'regex:^Return=0.5' (default: none, a reward)",
        group=DATA,
        metavar="SCORE=MEAN",
        repeats=True,
    )
    max_new_tokens: int | None = setting(
        None,
        "text2text, align: most tokens of a response (default: what targets have; align: 64)",
        group=DATA,
        metavar="N",
    )
    samples_per_prompt: int | None = setting(
        None,
        "align: responses that a step draws to each prompt of yours (default: 8)",
        group=DATA,
        metavar="N",
    )
    class_weights: str = setting(
        "none",
        "classify: balanced: all classes count alike in the training loss (default: none)",
        group=DATA,
        metavar="W",
        choices=("none", "balanced"),
    )
    too_long: str = setting(
        "refuse",
        "what to do with examples over the sequence length: refuse or truncate (default: refuse)",
        group=DATA,
        metavar="WHAT",
        choices=("refuse", "truncate"),
    )

    def __post_init__(self) -> None:
        check_settings(self)
        for name, value in self.given.items():
            if not name.endswith(("_file", "dataset")):  # whose names are the file system's
                check_characters(name, value)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Source":
        """Return a source from a mapping, None in which says nothing.

        Raises:
            WorldError: a name is unknown, or a value impossible.
        """
        check_names(settings, cls)
        return cls(**{name: value for name, value in settings.items() if value is not None})

    @property
    def given(self) -> dict[str, Any]:
        """The settings that say something, by name: those that aren't at their default."""
        return {
            f.name: value
            for f in dataclasses.fields(self)
            if (value := getattr(self, f.name)) != f.default
        }

    @property
    def has_data(self) -> bool:
        """Whether it names data, rather than leaving the task to what is embedded."""
        return self.dataset is not None or self.train_file is not None
