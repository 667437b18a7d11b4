"""A model of counts for the tests of the page; some of its units mean something."""

import math
import random
from collections import Counter, defaultdict
from functools import cache
from pydoc_data.topics import topics

import numpy as np

ORDERS = {
    250: 0,
    500: 1,
    1000: 2,
    2000: 3,
    4000: 5,
    5000: 5,
}  # how long the contexts are that a checkpoint knows
BEST = 4000
LAYERS = (48, 32)
CORPUS = "".join(topics[name] for name in sorted(topics))[:60_000]
VOCABULARY = sorted(set(CORPUS))


@cache
def counts(order: int) -> dict[str, Counter[str]]:
    """Return what followed each context of a length."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for place in range(order, len(CORPUS)):
        found[CORPUS[place - order : place]][CORPUS[place]] += 1
    return found


def probabilities(context: str, order: int) -> dict[str, float]:
    """Mix the counts of all contexts up to a length."""
    mixed = dict.fromkeys(VOCABULARY, 1 / len(VOCABULARY))
    for length in range(order + 1):
        seen = counts(length).get(context[len(context) - length :])
        if seen:
            total = sum(seen.values())
            mixed = {key: 0.15 * share + 0.85 * seen[key] / total for key, share in mixed.items()}
    return mixed


def order_of(step: int | None, held: list) -> int:
    """Return how long the contexts are; a model of which units are held knows less."""
    return 1 if held else ORDERS[step or BEST]


def draw(context: str, order: int, seed: int, place: int) -> tuple[str, float]:
    """Return the character that a seed draws in a place, and its surprise in nats."""
    shares = probabilities(context, order)
    chosen = random.Random(f"{seed}-{place}").choices(list(shares), list(shares.values()))[0]
    return chosen, -math.log(shares[chosen])


def read(text: str, order: int) -> tuple[list[float | None], list[int | None]]:
    """Return each character's surprise in nats and its rank."""
    surprises: list[float | None] = [None]
    ranks: list[int | None] = [None]
    for place in range(1, len(text)):
        shares = probabilities(text[:place][-order:] if order else "", order)
        share = shares.get(text[place], 1e-4)
        surprises.append(-math.log(share))
        ranks.append(1 + sum(other > share for other in shares.values()))
    return surprises, ranks


def activations(text: str, units: int) -> np.ndarray:
    """Return values [T, H]; unit 0 counts the line, 1 is on inside quotes, 2 in capitals, 3 after a space."""
    times, phases = np.arange(len(text))[:, None], np.arange(units)[None, :]
    values = 0.6 * np.sin(times / (2 + phases % 7) + phases)
    column, inside = 0, False
    for place, character in enumerate(text):
        column = 0 if character == "\n" else column + 1
        inside ^= character == '"'
        values[place, 0] = min(1.0, column / 30) * 2 - 1
        values[place, 1] = 0.9 if inside else -0.9
        values[place, 2] = 1.0 if character.isupper() else 0.0
        values[place, 3] = 1.0 if place and text[place - 1] == " " else -0.2
    return values
