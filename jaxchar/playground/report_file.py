"""A page on a finished run as one file that needs no network and no script: surprise, units, losses.

Whatever the run's text or name holds is shown as text.
"""

import base64
import html
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from itertools import chain
from os import PathLike
from pathlib import Path

import numpy as np

from jaxchar.checkpoint.find import Loaded, Which, load_checkpoint
from jaxchar.checkpoint.layout import FOLDER
from jaxchar.checkpoint.weights import weights_structure
from jaxchar.errors import JaxcharError, quoted_path, reason_of
from jaxchar.files import check_not_url, written_whole
from jaxchar.language_model import LanguageModel, from_checkpoint
from jaxchar.playground.looking import corpus_of
from jaxchar.playground.texts import known_text
from jaxchar.sampling.prompt_sources import default_prompt
from jaxchar.scoring.report import STYLE, character_html, legend, shown_html
from jaxchar.scoring.text_patterns import PATTERNS, Pattern
from jaxchar.scoring.unit_report import UnitReport, UnitScore, unit_report
from jaxchar.scoring.unit_states import part_in_pieces
from jaxchar.terminal.visible import visible
from jaxchar.training.plot import plot_loss
from jaxchar.training.run_folder import RunFolder

SAMPLE_CHARS, READ_CHARS, UNIT_CHARS = 1_000, 3_000, 700
SAMPLE_TEMPERATURE, SAMPLE_SEED = 0.8, 1
SHOWN_UNITS = 5  # of each pattern
SHADES = 10  # of each sign
PICTURE_STYLE = "img { max-width: 100%; height: auto }\n"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
HIGH, LOW = (0, 92, 185), (214, 96, 0)  # blue and orange, which the colour-blind tell apart, too


def write_report(
    run: str | Path,
    out: str | PathLike[str],
    *,
    text: str | None = None,
    which: Which | None = None,
    on_ready: Callable[[Loaded], object] | None = None,
    on_progress: Callable[[str, float], object] | None = None,
) -> Path:
    """Write a page on a run: text that a model of it writes and reads, units that tell patterns, losses.

    Args:
        run: its folder, its checkpoints folder, or one checkpoint's folder.
        out: the file, which is replaced if it is there.
        text: what the model reads; None: 3,000 characters that it remembers, or writes.
        which: of the checkpoints, the "last" or the "best"; None: the best where the run was validated.
        on_ready: called with the checkpoint, once it is loaded.
        on_progress: called with what is done next, and the share that is done, 0 to 1.

    Raises:
        JaxcharError: there is no run, the file cannot be written, or the model knows nothing of the text.
    """
    check_not_url(str(out), "--out")
    if on_progress is not None:
        on_progress("loading the model ...", 0.0)
    loaded = load_checkpoint(run, weights_structure, which)
    if on_ready is not None:
        on_ready(loaded)
    pieces: list[str] = []
    for part, (doing, work) in enumerate(parts := list(_parts(loaded, text))):
        if on_progress is not None:
            on_progress(doing, (1 + part) / (1 + len(parts)))
        pieces += work()
    try:
        file = Path(out).expanduser()
        with written_whole(file) as temporary:
            temporary.write_text("".join(pieces), encoding="utf-8")
    except (OSError, RuntimeError, ValueError) as error:
        raise JaxcharError(f"--out {quoted_path(out)} cannot be written: {reason_of(error)}") from error
    return file


def _parts(loaded: Loaded, text: str | None) -> Iterator[tuple[str, Callable[[], Iterable[str]]]]:
    """Yield the page in parts: what is done for each, and a function that makes its HTML."""
    model, path = from_checkpoint(loaded), loaded.path
    run = path.parent.parent if path.parent.name == FOLDER else path
    corpus = cache(partial(corpus_of, model))

    def read() -> Iterable[str]:
        return _read(model, *(corpus() if text is None else (text, "the given text")))

    yield "writing ...", lambda: chain(_head(run, loaded, model), _written(model))
    yield "reading ...", read
    yield "looking for units ...", lambda: _about_units(*corpus())
    for pattern in PATTERNS.values():
        yield f"units for {pattern.name.lower()} ...", partial(_units_for, pattern, model, corpus)
    yield "drawing the losses ...", lambda: chain(_losses(run), ["</body>\n</html>\n"])


def _head(run: Path, loaded: Loaded, model: LanguageModel) -> Iterator[str]:
    name, sizes = html.escape(visible(run.name)), " and ".join(map(str, model.config.layer_sizes))
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{name}</title>\n<style>{STYLE}{PICTURE_STYLE}{_unit_style()}</style>\n</head>\n<body>\n<h1>{name}</h1>\n"
        f"<p>{html.escape(model.config.cell.upper())} of {sizes} units, {len(model.vocabulary)} different "
        f"characters, after {loaded.metadata.step:,} steps.</p>\n"
    )


def _written(model: LanguageModel) -> Iterator[str]:
    session = model.session
    start = session.start(default_prompt(model.vocabulary))
    text = model.generate(start.text, SAMPLE_CHARS, temperature=SAMPLE_TEMPERATURE, seed=SAMPLE_SEED)
    yield (
        f"<h2>What it writes</h2>\n<p>Temperature {SAMPLE_TEMPERATURE}, seed {SAMPLE_SEED}. Each character "
        f"in the colour of its surprise; point at it for its figures.</p>\n{legend()}\n"
    )
    yield from _coloured(text, session.surprises(start, text), _ranks(model, start.text, text))


def _ranks(model: LanguageModel, context: str, text: str) -> np.ndarray:
    return model.score(text, context=context).ranks


def _read(model: LanguageModel, text: str, source: str) -> Iterator[str]:
    score = model.score(known_text(model, text[:READ_CHARS]), unknown="skip")
    yield (
        f"<h2>What it reads</h2>\n<p>{len(score):,} characters ({html.escape(source)}), "
        f"{score.bits_per_char:.2f} bits each.</p>\n"
    )
    yield from _coloured(score.text, score.surprises, score.ranks)


def _coloured(text: str, surprises: np.ndarray, ranks: np.ndarray) -> Iterator[str]:
    yield "<pre>\n"
    for place, character in enumerate(text):
        yield character_html(place, character, 0, float(surprises[place]), int(ranks[place]))
    yield "</pre>\n"


# ---- units ---------------------------------------------------------------------------------------


def _about_units(corpus: str, source: str) -> Iterator[str]:
    yield (
        f"<h2>What its units tell</h2>\n<p>Tried on {len(corpus):,} characters ({html.escape(source)}). The "
        "figure is the area under the ROC curve: 0.5 is chance, 1 never errs. The text is in the colours of "
        'the best unit: <span class="h10">blue</span> above zero, '
        '<span class="l10">orange</span> below.</p>\n'
    )


def _units_for(
    pattern: Pattern, model: LanguageModel, corpus: Callable[[], tuple[str, str]]
) -> Iterable[str]:
    try:
        report = unit_report(model, corpus()[0], pattern.id, best=SHOWN_UNITS)
    except JaxcharError:  # the text never has the pattern
        return []
    return _one_pattern(model, pattern, report)


def _one_pattern(model: LanguageModel, pattern: Pattern, report: UnitReport) -> Iterator[str]:
    yield f"<h3>{html.escape(pattern.name)}</h3>\n<p>{html.escape(pattern.explanation)}</p>\n<table>"
    for unit in report.units:
        side = "high" if unit.sign > 0 else "low"
        yield f"<tr><td>layer {unit.layer}, unit {unit.unit}</td><td>{unit.auc:.3f}</td><td>{side}</td></tr>"
    yield "</table>\n<pre>"
    text = _where_it_is(report)
    values = _values(model, report.units[0], text)
    scale = float(np.abs(values).max()) or 1.0
    for character, value in zip(text, values / scale, strict=True):
        shade = round(abs(float(value)) * SHADES)
        drawn, kind = shown_html(character)
        after = "\n" if character == "\n" else ""
        side = "h" if value > 0 else "l"
        yield f'<i class="{side}{shade}{kind}" title="{value * scale:.2f}">{drawn}</i>{after}'
    yield "</pre>\n"


def _where_it_is(report: UnitReport) -> str:
    """Return some of the text where the pattern comes up."""
    first = int(np.argmax(report.labels > report.labels.mean()))
    start = min(max(0, first - UNIT_CHARS // 4), max(0, len(report.text) - UNIT_CHARS))
    return report.text[start : start + UNIT_CHARS]


def _values(model: LanguageModel, unit: UnitScore, text: str) -> np.ndarray:
    pieces = part_in_pieces(model, model.vocabulary.encode(text), unit.part)
    return np.concatenate([piece[unit.layer][:, unit.unit] for piece in pieces])


def _unit_style() -> str:
    rules = []
    for letter, colour in (("h", HIGH), ("l", LOW)):
        for shade in range(SHADES + 1):
            share = shade / SHADES
            mixed = ",".join(str(round(255 + share * (part - 255))) for part in colour)
            ink = ";color:#fff" if share > 0.75 else ""
            rules.append(f".{letter}{shade}{{background:rgb({mixed}){ink}}}")
    return "\n".join(rules)


# ---- losses --------------------------------------------------------------------------------------


def _losses(path: Path) -> Iterator[str]:
    metrics = RunFolder(path).metrics()
    if not metrics:
        return
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "loss.png"
        plot_loss(metrics, path.name, picture)
        data = base64.b64encode(picture.read_bytes()).decode("ascii")
    picture_html = f'<img alt="loss over the steps" src="data:image/png;base64,{data}">'
    yield f"<h2>How it learned</h2>\n<p>{picture_html}</p>\n"
