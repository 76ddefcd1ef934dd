"""Locale formatting: English texts with their forms elsewhere, and the model that learnt them."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import pytest
import sacrebleu
import torch
from babel import Locale
from babel.dates import parse_date, parse_time
from babel.numbers import parse_decimal

from hpopt_envs.data.locale_formats import (
    NEW,
    NEW_SIZES,
    PRETRAINED,
    RETAINED_SIZES,
    locale_pairs,
    new_locale_tables,
    retained_tables,
)
from hpopt_envs.data.tables import Table
from hpopt_envs.models import EMBEDDED, load_model, load_tokenizer, max_positions

SOURCE = "embedded-t5"
LOCALES = (*PRETRAINED, NEW)
MONTHS = "January February March April May June July August September October November December"
FULL_DATE = re.compile(rf"[A-Z][a-z]+, ({MONTHS.replace(' ', '|')}) (\d+), (\d{{4}})")
# Written by hand; a number of any size stands for each 5.
KNOWN = {
    "in 5 days": {"de": "in 5 Tagen", "es": "dentro de 5 días", "nl": "over 5 dagen"},
    "5 hours ago": {"de": "vor 5 Stunden", "fr": "il y a 5 heures", "it": "5 ore fa"},
    "5 minutes": {"de": "5 Minuten", "es": "5 minutos", "it": "5 minuti", "nl": "5 minuten"},
    "5 days and 5 hours": {"fr": "5 jours et 5 heures", "nl": "5 dagen en 5 uur"},
    "5 kilometers": {"fr": "5 kilomètres", "it": "5 chilometri", "nl": "5 kilometer"},
    "5 million": {"de": "5 Millionen", "es": "5 millones", "nl": "5 miljoen"},
    "5%": {"de": "5 %", "es": "5 %", "fr": "5 %", "it": "5%", "nl": "5%"},
    "5 Japanese yen": {"de": "5 Japanische Yen", "fr": "5 yens japonais"},
    "€5": {"de": "5 €", "fr": "5 €", "it": "5 €", "nl": "€ 5"},
}
PRINT_COLUMNS = """
from hpopt_envs.data.locale_formats import new_locale_tables, retained_tables
for tables in (new_locale_tables(), retained_tables()):
    print(ascii({split: dict(table.columns) for split, table in tables.items()}))
"""


def rows(tables: Mapping[str, Table]) -> Iterator[tuple[str, str, str, str]]:
    """Split, locale, English text, and its form in that locale."""
    for split, table in tables.items():
        pairs = zip(table.columns["prompt"], table.columns["completion"], strict=True)
        for source, target in pairs:
            locale, english = source.split(": ", 1)
            yield split, locale, english, target


@pytest.fixture(scope="module")
def triples() -> list[tuple[str, str, str]]:
    """Locale, English text, and its form in that locale."""
    pairs = locale_pairs(LOCALES, {"train": 1500, "validation": 0, "test": 0})["train"]
    return [(source[:2], source[4:], text) for source, text in pairs]


def test_there_are_as_many_pairs_as_are_said() -> None:
    locales = [(split, locale) for split, locale, *_ in rows(new_locale_tables())]
    assert {key: locales.count(key) for key in set(locales)} == {
        (split, NEW): size for split, size in NEW_SIZES.items()
    }
    locales = [(split, locale) for split, locale, *_ in rows(retained_tables())]
    assert {key: locales.count(key) for key in set(locales)} == {
        (split, locale): size for split, size in RETAINED_SIZES.items() for locale in PRETRAINED
    }
    assert NEW not in PRETRAINED


def test_no_source_is_there_twice_and_no_english_text_in_two_splits() -> None:
    split_of: dict[str, str] = {}
    sources: set[tuple[str, str]] = set()
    for split, locale, english, _ in (*rows(new_locale_tables()), *rows(retained_tables())):
        assert split_of.setdefault(english, split) == split
        assert (locale, english) not in sources
        sources.add((locale, english))
    assert len(sources) > len(split_of)  # locales do share English texts


def test_fewer_pairs_are_among_more() -> None:
    more = locale_pairs(PRETRAINED, {"train": 300, "validation": 80, "test": 0})
    assert more["test"] == []
    for split in ("train", "validation"):
        columns = retained_tables()[split].columns
        assert set(zip(columns["prompt"], columns["completion"], strict=True)) < set(more[split])


def test_pairs_are_the_same_in_every_process() -> None:
    result = subprocess.run(
        [sys.executable, "-c", PRINT_COLUMNS],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = [ast.literal_eval(line) for line in result.stdout.splitlines()]
    assert theirs == [
        {split: dict(table.columns) for split, table in tables.items()}
        for tables in (new_locale_tables(), retained_tables())
    ]


def test_english_says_all_that_is_asked_for() -> None:
    # The same locale under two names draws other values.
    forms: dict[str, str] = {}
    sizes = {"train": 3000, "validation": 0, "test": 0}
    for locale in ("nl", "nl_NL", "nl_Latn"):
        for source, text in locale_pairs((locale,), sizes)["train"]:
            english = source.split(": ", 1)[1]
            assert forms.setdefault(english, text) == text
    assert 4000 < len(forms) < 8900


@pytest.mark.parametrize("english", KNOWN)
def test_a_phrase_is_what_it_is_called(english: str, triples: list[tuple[str, str, str]]) -> None:
    number = r"\d[\d.,\s]*(?<!\s)"
    pattern, seen = re.escape(english).replace("5", number), set()
    for locale, text, form in triples:
        if locale in KNOWN[english] and re.fullmatch(pattern, text):
            assert " ".join(re.sub(number, "5", form).split()) == KNOWN[english][locale]
            seen.add(locale)
    assert seen == set(KNOWN[english])


def test_numbers_read_again_are_the_same(triples: list[tuple[str, str, str]]) -> None:
    count = 0
    for locale, english, text in triples:
        number = re.fullmatch(r"€?([\d,.]+)%?", english)
        if number:
            read = parse_decimal(text.strip("€% \xa0\u202f"), locale, strict=True)
            assert read == parse_decimal(number[1], "en")
            count += 1
    assert count > 1000


def test_short_dates_and_times_read_again_are_the_same(
    triples: list[tuple[str, str, str]],
) -> None:
    dates = times = 0
    for locale, english, text in triples:
        if re.fullmatch(r"\d+/\d+/\d\d", english):
            month, day, year = map(int, english.split("/"))
            read = parse_date(text, locale, format="short")
            assert (read.year % 100, read.month, read.day) == (year, month, day)
            dates += 1
        elif re.fullmatch(r"\d+:\d\d\s[AP]M", english):
            hour, minute = map(int, english[:-3].split(":"))
            read_time = parse_time(text, locale, format="short")
            assert read_time.hour == hour % 12 + 12 * english.endswith("PM")
            assert read_time.minute == minute
            times += 1
    assert min(dates, times) > 100


def test_full_dates_have_the_locales_own_words(triples: list[tuple[str, str, str]]) -> None:
    count = 0
    for locale, english, text in triples:
        found = FULL_DATE.fullmatch(english)
        if found:
            day = date(int(found[3]), MONTHS.split().index(found[1]) + 1, int(found[2]))
            names = Locale(locale)
            assert text.startswith(names.days["format"]["wide"][day.weekday()])
            assert names.months["format"]["wide"][day.month] in text
            assert [int(digits) for digits in re.findall(r"\d+", text)] == [day.day, day.year]
            count += 1
    assert count > 100


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model(SOURCE, seed=0, auto="AutoModelForSeq2SeqLM").eval()


def test_the_shipped_model_is_small_and_knows_its_tokens(model: Any) -> None:
    assert 800_000 <= model.num_parameters() <= 1_200_000
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert sum(file.stat().st_size for file in EMBEDDED[SOURCE].iterdir()) < 5e6
    tokenizer = load_tokenizer(SOURCE)
    assert len(tokenizer) == model.config.vocab_size
    for config in (model.config, model.generation_config):
        assert config.pad_token_id == config.decoder_start_token_id == tokenizer.pad_token_id
        assert config.eos_token_id == tokenizer.eos_token_id
    assert max_positions(SOURCE) is None


def chrf(model: Any, table: Table) -> float:
    """Of what is generated for the first 32 pairs."""
    tokenizer = load_tokenizer(SOURCE)
    batch = tokenizer(table.columns["prompt"][:32], padding=True, return_tensors="pt")
    written = tokenizer.batch_decode(model.generate(**batch), skip_special_tokens=True)
    return sacrebleu.corpus_chrf(written, [table.columns["completion"][:32]]).score


def test_the_shipped_model_has_learnt_its_locales_and_not_the_new_one(model: Any) -> None:
    learnt, new = (chrf(model, t()["test"]) for t in (retained_tables, new_locale_tables))
    assert learnt > 90
    assert new < learnt - 20


def test_the_tokenizer_gives_back_every_text() -> None:
    tokenizer = load_tokenizer(SOURCE)
    texts = [text for t in new_locale_tables().values() for c in t.columns.values() for text in c]
    ids = tokenizer([*texts, "", "日本 🙂\n"])["input_ids"]
    assert tokenizer.batch_decode(ids, skip_special_tokens=True) == [*texts, "", "日本 🙂\n"]
    assert {row[-1] for row in ids} == {tokenizer.eos_token_id}
    assert not any(tokenizer.unk_token_id in row for row in ids)
