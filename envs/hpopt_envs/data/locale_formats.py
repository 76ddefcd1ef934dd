"""English dates, amounts, units and durations, and their form in other locales.

The data of the embedded `text2text` task, called locale formatting: "fr: Tuesday, March 3, 2026"
becomes "mardi 3 mars 2026". References are Babel's, that is, the Unicode Common Locale Data
Repository's, with its spaces that don't break. What a value is belongs to no locale: the same
value is written in English and in the other one. A text's split follows from a hash of its
English part, so that no English text is in two splits, in whichever locales it is asked for.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache, partial
from random import Random
from typing import Literal

from .corpus import SPLITS, split_of
from .tables import Table

Pair = tuple[str, str]  # "LOCALE: English text", and the text in that locale
_Writer = Callable[..., str]  # writes a value in a `locale`

PRETRAINED = ("de", "es", "fr", "it")  # locales that the embedded model has learnt
NEW = "nl"  # the one that it is fine-tuned to
NEW_SIZES = {"train": 6000, "validation": 512, "test": 512}
RETAINED_SIZES = {"train": 250, "validation": 64, "test": 64}  # of each locale
_WHERE = "the embedded locale data"

# Years whose last two digits say which they are: not every locale writes short dates with two.
_DAYS = (date(1970, 1, 1), date(2029, 12, 31))
_DATES: tuple[Literal["full", "long", "medium", "short"], ...] = ("full", "long", "medium", "short")
_TIMES: tuple[Literal["medium", "short"], ...] = ("medium", "short")
_LENGTHS: tuple[Literal["long", "short"], ...] = ("long", "short")
_CURRENCIES = ("USD", "EUR", "GBP", "JPY", "CHF", "CAD", "SEK", "PLN", "INR", "BRL")
_UNITS = (
    *("length-centimeter", "length-meter", "length-kilometer", "mass-gram", "mass-kilogram"),
    *("volume-liter", "area-square-meter", "speed-kilometer-per-hour", "temperature-celsius"),
    *("digital-megabyte", "energy-kilowatt-hour"),
)
_CLOCK: tuple[tuple[Literal["day", "hour", "minute"], int, timedelta], ...] = (
    ("day", 31, timedelta(days=1)),
    ("hour", 24, timedelta(hours=1)),
    ("minute", 60, timedelta(minutes=1)),
)


@lru_cache(maxsize=1)
def new_locale_tables() -> dict[str, Table]:
    """Return the pairs of `NEW`, by split: columns `prompt` and `completion`."""
    return _tables(locale_pairs((NEW,), NEW_SIZES))


@lru_cache(maxsize=1)
def retained_tables() -> dict[str, Table]:
    """Return as many pairs of each of `PRETRAINED`, by split: columns `prompt` and `completion`."""
    return _tables(locale_pairs(PRETRAINED, RETAINED_SIZES))


def locale_pairs(locales: Sequence[str], sizes: Mapping[str, int]) -> dict[str, list[Pair]]:
    """Return pairs of English text and its form in locales, of all kinds alike.

    Fewer pairs are the first of more: those of a locale and split begin the same, whatever the
    sizes.

    Args:
        locales: names that Babel knows.
        sizes: by split, its pairs in each locale; values never run out.

    Returns:
        By split, its pairs in an order without meaning. No source is there twice.
    """
    splits: dict[str, list[Pair]] = {split: [] for split in SPLITS}
    for locale in locales:
        for split, pairs in _pairs_of(locale, sizes).items():
            splits[split] += pairs
    for pairs in splits.values():
        Random(0).shuffle(pairs)
    return splits


def _tables(splits: Mapping[str, list[Pair]]) -> dict[str, Table]:
    return {
        split: Table({"prompt": [a for a, _ in pairs], "completion": [b for _, b in pairs]}, _WHERE)
        for split, pairs in splits.items()
    }


def _pairs_of(locale: str, sizes: Mapping[str, int]) -> dict[str, list[Pair]]:
    random = Random(locale)
    splits: dict[str, list[Pair]] = {split: [] for split in SPLITS}
    known: set[str] = set()
    while any(len(splits[split]) < sizes[split] for split in SPLITS):
        writers: dict[str, _Writer] = {}
        for write in random.choice(_KINDS)(random):
            # Styles that are one in English ("May 3, 2026") have one answer, the first style's.
            writers.setdefault(write(locale="en"), write)
        text = random.choice(list(writers))
        split = split_of(text)
        if text not in known and len(splits[split]) < sizes[split]:
            known.add(text)
            splits[split].append((f"{locale}: {text}", writers[text](locale=locale)))
    return splits


# Each kind draws a value, and returns how to write it: one writer for each style.


def _dates(random: Random) -> list[_Writer]:
    from babel.dates import format_date

    day = _day(random)
    return [partial(format_date, day, style) for style in _DATES]


def _times(random: Random) -> list[_Writer]:
    from babel.dates import format_time

    moment = _time(random)
    return [partial(format_time, moment, style) for style in _TIMES]


def _dates_with_times(random: Random) -> list[_Writer]:
    from babel.dates import format_datetime

    moment = datetime.combine(_day(random), _time(random))
    return [partial(format_datetime, moment, style) for style in _TIMES]


def _decimals(random: Random) -> list[_Writer]:
    from babel.numbers import format_decimal

    return [partial(format_decimal, _number(random, places=3))]


def _compact_numbers(random: Random) -> list[_Writer]:
    from babel.numbers import format_compact_decimal

    # A whole number of tenths of thousands or millions: English must show all of it, since
    # others write "1.2K" as 1200.
    value = random.randrange(11, 10_000) * random.choice((100, 100_000))
    write = partial(format_compact_decimal, value, fraction_digits=1)
    return [partial(write, format_type=style) for style in _LENGTHS]


def _percents(random: Random) -> list[_Writer]:
    from babel.numbers import format_percent

    value = Decimal(random.randrange(1, 2000)).scaleb(-random.choice((2, 3, 4)))
    return [partial(format_percent, value, decimal_quantization=False)]


def _amounts(random: Random) -> list[_Writer]:
    from babel.numbers import format_currency

    write = partial(format_currency, _number(random, places=2), random.choice(_CURRENCIES))
    return [partial(write, format_type=style) for style in ("standard", "name")]


def _units(random: Random) -> list[_Writer]:
    from babel.units import format_unit

    # At least two: Babel has no short singular where it looks like the plural.
    value = Decimal(random.randrange(20, 10_000)).scaleb(-random.randint(0, 1))
    write = partial(format_unit, value, random.choice(_UNITS))
    return [partial(write, length=style) for style in _LENGTHS]


def _durations(random: Random) -> list[_Writer]:
    from babel.dates import format_timedelta
    from babel.lists import format_list

    first, count = random.randrange(3), random.randint(1, 3)
    parts = [
        # Not `format_unit`, which lacks long forms where they look like the short ones.
        partial(format_timedelta, random.randrange(1, limit) * one, name, threshold=math.inf)
        for name, limit, one in _CLOCK[first : first + count]
    ]

    # Long alone, as of relative times: not every locale has the patterns of short ones.
    return [lambda locale: format_list([part(locale=locale) for part in parts], locale=locale)]


def _relative_times(random: Random) -> list[_Writer]:
    from babel.dates import format_timedelta

    seconds = random.choice((-1, 1)) * int(10 ** random.uniform(0, 8.5))
    return [partial(format_timedelta, timedelta(seconds=seconds), add_direction=True)]


_KINDS = (
    *(_dates, _times, _dates_with_times, _decimals, _compact_numbers),
    *(_percents, _amounts, _units, _durations, _relative_times),
)


def _day(random: Random) -> date:
    first, last = _DAYS
    return first + timedelta(days=random.randrange((last - first).days + 1))


def _time(random: Random) -> time:
    return time(random.randrange(24), random.randrange(60), random.randrange(60))


def _number(random: Random, places: int) -> Decimal:
    """Return a number of one to seven digits, of which none to `places` are decimals."""
    digits = random.randrange(1, 10 ** random.randint(1, 7))
    return Decimal(digits).scaleb(-random.randint(0, places))
