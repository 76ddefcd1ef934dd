"""Where the tokens of nano tasks come from: chains, templates, and text that every Python has.

A source can be moved: what comes of it is as far from it as one asks, so that a base model knows
much of it, or little.
"""

from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..data.corpus import SPLITS, read_corpus
from ..errors import WorldError

Tokens = NDArray[np.int64]
Random = np.random.Generator

SOURCES = ("markov", "hmm", "templates", "text")
CHAINS = 64  # run side by side; a sample is one after the other
CLASSES = 3  # of the token before the last one, in a Markov chain of second order
WORDS = 30  # of templates
LITERAL = 0.8  # share of a template's words that aren't noise
PIECE = 256  # characters of text in a row
CORPUS_CHARACTERS = (300_000, 60_000)  # in training, and in each of validation and test


class Source(Protocol):
    """A distribution of token sequences over a vocabulary."""

    def sample(self, random: Random, length: int, split: str) -> Tokens:
        """Return so many tokens; those of different splits have nothing in common but the law."""

    def moved(self, random: Random, distance: float) -> "Source":
        """Return a source that differs from this one in a share `distance` of its parts."""


def draw_source(kind: str, vocabulary: int, random: Random) -> Source:
    """Return a new source.

    Args:
        kind: one of `SOURCES`.
        vocabulary: number of tokens; 2 or more.
        random: what it is drawn from.

    Raises:
        WorldError: this Python comes without the text.
    """
    if kind == "markov":
        order = int(random.integers(1, 3))
        return Markov.draw(vocabulary, order, random)
    if kind == "hmm":
        return HiddenMarkov.draw(vocabulary, random)
    if kind == "templates":
        return Templates.draw(vocabulary, random)
    return Text(("prose", "code")[int(random.integers(2))], vocabulary)


@dataclass(frozen=True)
class Markov:
    """A Markov chain of first or second order.

    Attributes:
        rows: probabilities of the next token, shape (classes × vocabulary, vocabulary).
        classes: of the token before the last one, shape (vocabulary,); all 0 at first order.
        concentration: of the Dirichlet distribution that rows are drawn from.
    """

    rows: NDArray[np.float64]
    classes: Tokens
    concentration: float

    @classmethod
    def draw(cls, vocabulary: int, order: int, random: Random) -> "Markov":
        number = CLASSES if order == 2 else 1
        concentration = 10 ** random.uniform(-1.7, -0.6)
        rows = random.dirichlet(np.full(vocabulary, concentration), number * vocabulary)
        return cls(rows, random.integers(number, size=vocabulary), concentration)

    def sample(self, random: Random, length: int, split: str) -> Tokens:
        vocabulary, steps = len(self.classes), -(-length // CHAINS)
        cumulative = np.cumsum(self.rows, axis=1)
        last, before = random.integers(vocabulary, size=(2, CHAINS))
        draws = random.random((steps, CHAINS, 1))
        tokens = np.empty((steps, CHAINS), dtype=np.int64)
        for step, draw in enumerate(draws):
            row = cumulative[self.classes[before] * vocabulary + last]
            before, last = last, _index(row, draw)
            tokens[step] = last
        return tokens.T.reshape(-1)[:length]

    def moved(self, random: Random, distance: float) -> "Markov":
        vocabulary = len(self.classes)
        other = random.dirichlet(np.full(vocabulary, self.concentration), len(self.rows))
        changed = random.random(len(self.rows)) < distance
        return Markov(
            np.where(changed[:, None], other, self.rows), self.classes, self.concentration
        )


@dataclass(frozen=True)
class HiddenMarkov:
    """A Markov chain of hidden states that emit tokens.

    Attributes:
        states: probabilities of the next state, shape (states, states).
        emissions: of tokens, shape (states, vocabulary).
        concentration: of the Dirichlet distribution that emissions are drawn from.
    """

    states: NDArray[np.float64]
    emissions: NDArray[np.float64]
    concentration: float

    @classmethod
    def draw(cls, vocabulary: int, random: Random) -> "HiddenMarkov":
        number = int(random.integers(4, 12))
        concentration = 10 ** random.uniform(-1.5, -0.6)
        states = random.dirichlet(np.full(number, 0.2), number)
        return cls(
            states, random.dirichlet(np.full(vocabulary, concentration), number), concentration
        )

    def sample(self, random: Random, length: int, split: str) -> Tokens:
        number = len(self.states)
        chain = Markov(self.states, np.zeros(number, dtype=np.int64), 0.0)
        hidden = chain.sample(random, length, split)
        return _index(np.cumsum(self.emissions, axis=1)[hidden], random.random((length, 1)))

    def moved(self, random: Random, distance: float) -> "HiddenMarkov":
        number, vocabulary = self.emissions.shape
        states = random.dirichlet(np.full(number, 0.2), number)
        emissions = random.dirichlet(np.full(vocabulary, self.concentration), number)
        changed = random.random((2, number, 1)) < distance
        return HiddenMarkov(
            np.where(changed[0], states, self.states),
            np.where(changed[1], emissions, self.emissions),
            self.concentration,
        )


@dataclass(frozen=True)
class Templates:
    """Words of a few tokens in any order, with noise between them.

    Attributes:
        words: the tokens of each.
        vocabulary: that noise is drawn from.
    """

    words: tuple[Tokens, ...]
    vocabulary: int

    @classmethod
    def draw(cls, vocabulary: int, random: Random) -> "Templates":
        number = int(random.integers(6, WORDS))
        return cls(tuple(_word(vocabulary, random, 7) for _ in range(number)), vocabulary)

    def sample(self, random: Random, length: int, split: str) -> Tokens:
        parts: list[Tokens] = []
        left = length
        while left > 0:
            literal = random.random() < LITERAL
            word = int(random.integers(len(self.words)))
            parts.append(self.words[word] if literal else _word(self.vocabulary, random, 4))
            left -= len(parts[-1])
        return np.concatenate(parts)[:length]

    def moved(self, random: Random, distance: float) -> "Templates":
        changed = random.random(len(self.words)) < distance
        words = [
            _word(self.vocabulary, random, 7) if new else word
            for new, word in zip(changed, self.words, strict=True)
        ]
        return Templates(tuple(words), self.vocabulary)


@dataclass(frozen=True)
class Text:
    """Characters of prose about Python, or of Python itself; the rarest are one token.

    Attributes:
        domain: "prose" or "code".
        vocabulary: number of tokens.
        foreign: share of its pieces that are of the other domain, in [0, 1].
    """

    domain: str
    vocabulary: int
    foreign: float = 0.0

    def sample(self, random: Random, length: int, split: str) -> Tokens:
        own = _encoded(self.vocabulary)[self.domain, split]
        others = _encoded(self.vocabulary)[self._other, split]
        count = -(-length // PIECE)
        pieces = [
            text[random.integers(len(text) - PIECE, size=count)[:, None] + np.arange(PIECE)]
            for text in (own, others)
        ]
        foreign = random.random((count, 1)) < self.foreign
        tokens: Tokens = np.where(foreign, pieces[1], pieces[0])
        return tokens.reshape(-1)[:length]

    def moved(self, random: Random, distance: float) -> "Text":
        return Text(self.domain, self.vocabulary, distance)

    @property
    def _other(self) -> str:
        return "code" if self.domain == "prose" else "prose"


def _index(cumulative: NDArray[np.float64], draws: NDArray[np.float64]) -> Tokens:
    """Return where draws from [0, 1) fall among cumulative probabilities, shape (n, choices)."""
    below = (cumulative < draws).sum(axis=1)
    # Where rounding leaves a sum below 1, all may be.
    index: Tokens = np.minimum(below, cumulative.shape[1] - 1).astype(np.int64)
    return index


def _word(vocabulary: int, random: Random, longest: int) -> Tokens:
    return random.integers(vocabulary, size=int(random.integers(longest // 3, longest)))


@cache
def _encoded(vocabulary: int) -> dict[tuple[str, str], Tokens]:
    """Return the tokens of each domain's splits: its most frequent characters, then all others."""
    corpus = read_corpus(*CORPUS_CHARACTERS)
    texts = {
        (name, split): "\n".join(getattr(domain, split).values())
        for name, domain in (("prose", corpus.prose), ("code", corpus.code))
        for split in SPLITS
    }
    if not all(texts.values()):
        raise WorldError("nano tasks of text need the source of Python's standard library")
    points = {key: _code_points(text) for key, text in texts.items()}
    counts = np.bincount(np.concatenate([points["prose", "train"], points["code", "train"]]))
    frequent = np.argsort(-counts, kind="stable")[: vocabulary - 1]
    table = np.full(0x110000, vocabulary - 1, dtype=np.int64)
    table[frequent] = np.arange(len(frequent))
    return {key: table[codes] for key, codes in points.items()}


def _code_points(text: str) -> NDArray[np.uint32]:
    encoded = text.encode("utf-32-le", errors="surrogatepass")
    return np.frombuffer(encoded, dtype=np.uint32)
