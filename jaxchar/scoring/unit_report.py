"""Which hidden units of a model tell a pattern of a text, and how well: ``jaxchar.unit_report``.

A unit's figure is the area under its ROC curve (AUC): how often, of two characters of which one has the
pattern and one has not, the unit is higher at the one that has it. 0.5 is chance. It is computed from ranks
(Mann and Whitney 1947; Hanley and McNeil 1982, "The meaning and use of the area under a ROC curve").

A quantity such as the position in the line has more than two labels. The figure is then (1 + G) / 2 with
Gini's correlation G = cov(y, rank x) / cov(y, rank y) of labels y and unit x (Schechtman and Yitzhaki 1987,
"A measure of association based on Gini's mean difference"). It counts how often, of two characters, the unit
puts the greater label higher, each pair weighed by how far its labels lie apart. With two labels it is the
AUC.

Letters: T characters, H hidden size.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from jaxchar.errors import JaxcharError, quoted
from jaxchar.model.inside import Inside
from jaxchar.scoring.text_patterns import pattern_named
from jaxchar.scoring.unit_states import PIECE_CHARS, part_in_pieces

UNITS_TOGETHER = 32  # ranked in one go
REPORT_CHARS = 20_000  # of a text, if no other number is given: enough for figures of two places
BEST = 50

Labels = np.ndarray  # [T] float64, one a character
PatternOrLabels = str | Sequence[Any] | np.ndarray


class UnitScore(NamedTuple):
    """How well one unit tells a pattern."""

    layer: int  # from 0
    unit: int  # from 0
    part: str  # h, c, or a gate
    auc: float  # 0.5 (chance) to 1, after a change of sign where the unit is low at the pattern
    sign: int  # +1: high at the pattern, -1: low
    threshold: float  # the value that tells it best, by sensitivity + specificity


@dataclass(frozen=True, eq=False)
class UnitReport:
    """Which units tell a pattern, the best ones first."""

    pattern: str  # its id, or "labels"
    text: str  # as the model read it
    labels: np.ndarray = field(repr=False)  # [T] float64
    units: tuple[UnitScore, ...]
    areas: dict[tuple[int, str], np.ndarray] = field(
        repr=False
    )  # by (layer, part): [H], 0 to 1, of every unit

    @property
    def characters(self) -> int:
        """T."""
        return len(self.text)

    @property
    def share(self) -> float:
        """The share of characters that have the pattern; of a quantity, of those above its mean."""
        return float(_positive(self.labels).mean())


def unit_report(
    model: Inside,
    text: str,
    pattern: PatternOrLabels,
    *,
    layers: Sequence[int] | None = None,
    parts: Sequence[str] = ("h",),
    best: int = BEST,
    on_progress: Callable[[int, int], object] | None = None,
) -> UnitReport:
    """Return which units of a model tell a pattern of a text, and how well.

    Args:
        model: any.
        text: some thousands of characters; of a longer one, give as many as you have time for.
        pattern: a name of :data:`jaxchar.scoring.text_patterns.PATTERNS`; or a label for each character of
            the text, [T] numbers; or where the pattern is, as pairs (begin, end) of positions.
        layers: which, from 0; None: all.
        parts: of what: "h", the output; "c", the memory of an LSTM; or gates by their letters.
        best: how many units to list.
        on_progress: called with (done, of) on the way; what it raises ends the work.

    Raises:
        JaxcharError: there is no such pattern, layer or part, the text is empty or has characters that the
            model does not know, or all of its characters have the same label.
    """
    for step in unit_report_steps(model, text, pattern, layers=layers, parts=parts, best=best):
        if isinstance(step, UnitReport):
            return step
        if on_progress is not None:
            on_progress(*step)
    raise AssertionError("the last step is the report")


def unit_report_steps(
    model: Inside,
    text: str,
    pattern: PatternOrLabels,
    *,
    layers: Sequence[int] | None = None,
    parts: Sequence[str] = ("h",),
    best: int = BEST,
) -> Iterator[tuple[int, int] | UnitReport]:
    """Do what :func:`unit_report` does step by step: yield (done, of), and at the end the report.

    Between two steps the work can be left.
    """
    ids = _encoded(model, text)
    text = model.vocabulary.decode(ids)
    chosen = _checked_layers(model, layers)
    parts = [parts] if isinstance(parts, str) else list(parts)
    labels = _labels(pattern, text)
    blocks = sum(-(-model.config.layer_sizes[layer] // UNITS_TOGETHER) for layer in chosen)
    pieces = -(-len(ids) // PIECE_CHARS)
    done, total = 0, len(parts) * (pieces + blocks)
    areas, scores = {}, []
    for part in parts:
        read = []
        for piece in part_in_pieces(model, ids, part):
            read.append([piece[layer] for layer in chosen])
            done += 1
            yield done, total
        for layer, *values in zip(chosen, *read, strict=True):
            states, found = np.concatenate(values), []
            for some in _in_blocks(states):
                found.append(areas_under_curve(some, labels))
                done += 1
                yield done, total
            areas[layer, part] = np.concatenate(found)
            scores += _best_of(layer, part, areas[layer, part], states, labels, best)
    scores.sort(key=lambda score: -score.auc)
    yield UnitReport(_name(pattern), text, labels, tuple(scores[:best]), areas)


def areas_under_curve(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return each unit's area under the ROC curve, [U], 0 to 1, equal values counted half.

    Args:
        values: [T, U], of U units.
        labels: [T], numbers of which not all are equal; two of them, or a quantity, see the module.
    """
    from scipy.stats import rankdata  # half a second that others need not wait for

    centred = labels - labels.mean()
    with_labels = centred @ rankdata(values, axis=0)
    areas = 0.5 + 0.5 * with_labels / (centred @ rankdata(labels))
    return np.clip(areas, 0, 1)  # beyond by rounding alone


def best_threshold(values: np.ndarray, positive: np.ndarray, sign: int) -> float:
    """Return the value, above which (below which, by the sign) a unit tells most: Youden's J is highest.

    Args:
        values: [T], of one unit.
        positive: [T] bool, where the pattern is.
        sign: +1: the unit is high there; -1: low.
    """
    order = np.argsort(-sign * values, kind="stable")
    ordered, hits = values[order], positive[order]
    gain = np.cumsum(np.where(hits, 1 / max(1, hits.sum()), -1 / max(1, (~hits).sum())))
    last_of_equals = np.append(ordered[1:] != ordered[:-1], True)
    place = int(np.argmax(np.where(last_of_equals, gain, -np.inf)))
    after = min(place + 1, len(ordered) - 1)
    return float((ordered[place] + ordered[after]) / 2)


# ---- how -----------------------------------------------------------------------------------------


def _encoded(model: Inside, text: str) -> np.ndarray:
    ids = model.encoded(text)
    if len(ids) == 0:
        raise JaxcharError("the text is empty; give some thousands of characters")
    return ids


def _checked_layers(model: Inside, layers: Sequence[int] | None) -> list[int]:
    sizes = model.config.layer_sizes
    chosen = list(range(len(sizes)) if layers is None else layers)
    wrong = [layer for layer in chosen if layer not in range(len(sizes))]
    if wrong or not chosen:
        raise JaxcharError(
            f"layers must be numbers from 0 to {len(sizes) - 1}, but they are {quoted(chosen)}; give None "
            "for all"
        )
    return chosen


def _labels(pattern: PatternOrLabels, text: str) -> np.ndarray:
    """Return the labels of a text's characters, [T] float64."""
    labels = pattern_named(pattern).labels(text) if isinstance(pattern, str) else _given_labels(pattern, text)
    if labels.min() == labels.max():
        raise JaxcharError(
            "every character of the text has the same label, so no unit can tell it; give a longer text, or "
            "another pattern"
        )
    return labels


def _given_labels(given: Sequence[Any] | np.ndarray, text: str) -> np.ndarray:
    try:
        array = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.shape == (len(text),) and np.isfinite(array).all():
        return array
    if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all():
        raise JaxcharError(
            f"pattern must be a name, {len(text):,} numbers (one for each character as the model reads "
            "the text), "
            f"or pairs of positions, but it is {quoted(given)}"
        )
    labels = np.zeros(len(text))
    for begin, end in array:
        if not 0 <= begin < end <= len(text):
            raise JaxcharError(
                f"pairs of positions must lie in the text, 0 to {len(text):,}, the first one below the "
                "second, "
                f"but one is {begin:g}, {end:g}"
            )
        labels[int(begin) : int(end)] = 1
    return labels


def _name(pattern: PatternOrLabels) -> str:
    return pattern if isinstance(pattern, str) else "labels"


def _positive(labels: np.ndarray) -> np.ndarray:
    return labels > labels.mean()


def _in_blocks(values: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, values.shape[1], UNITS_TOGETHER):
        yield values[:, start : start + UNITS_TOGETHER]


def _best_of(
    layer: int, part: str, areas: np.ndarray, values: np.ndarray, labels: np.ndarray, best: int
) -> list[UnitScore]:
    """Return the best units of one part of one layer."""
    positive, signs = _positive(labels), np.where(areas < 0.5, -1, 1)
    strength = np.maximum(areas, 1 - areas)
    return [
        UnitScore(
            layer,
            int(unit),
            part,
            float(strength[unit]),
            int(signs[unit]),
            best_threshold(values[:, unit], positive, int(signs[unit])),
        )
        for unit in np.argsort(-strength, kind="stable")[:best]
    ]
