"""Texts of many short documents: cut, recognised, held out, read in another order every epoch, written."""

import argparse
import io
import itertools
import json
import random
import re
import textwrap
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from pydoc_data.topics import topics

import jax
import jax.numpy as jnp
import numpy as np
import promises
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from runs import TINY, quiet, timeless_metrics

import jaxchar
import jaxchar.training.trainer
from jaxchar import sample
from jaxchar.cli.train_settings import parse_arguments
from jaxchar.config import Config
from jaxchar.data import batches as batches_module
from jaxchar.data.batches import Documents, Streams
from jaxchar.data.cutting import cut_into_documents, rearranged, shares
from jaxchar.data.dataset import load_dataset
from jaxchar.data.documents import detect_separator, typed_separator
from jaxchar.errors import JaxcharError
from jaxchar.parallel.devices import make_mesh, replicate
from jaxchar.progress.display import TrainingDisplay
from jaxchar.sampling import session as writer_module
from jaxchar.training.step import make_program
from jaxchar.training.trainer import Trainer

KEY = jax.random.key(0)
DICE = random.Random(1)


def ids_of(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


def documents_of(text: str, separator: str) -> list[str]:
    cut = cut_into_documents(ids_of(text), ids_of(separator))
    whole = cut.ids.tobytes().decode()
    return [whole[start:stop] for start, stop in zip(cut.bounds[:-1], cut.bounds[1:], strict=True)]


# ---- cutting -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "separator", "expected"),
    [
        ("Ann\nBob\n", "\n", ["Ann\n", "Bob\n"]),
        ("Ann\nBob", "\n", ["Ann\n", "Bob\n"]),  # the last one is ended, too
        ("Ann\n\n\nBob\n\n", "\n", ["Ann\n\n\n", "Bob\n\n"]),  # empty lines are no documents
        ("a\nb\n\nc\n\n\nd", "\n\n", ["a\nb\n\n", "c\n\n\n", "d\n\n"]),
        ("a\n\nb\n", "\n\n", ["a\n\n", "b\n\n"]),  # half a separator is made whole
        ("a\n%\n%\nb\n%\n", "\n%\n", ["a\n%\n%\n", "b\n%\n"]),
        ("a\n%\nb\n%", "\n%\n", ["a\n%\n", "b\n%\n"]),
        ("abab", "ab", ["abab"]),
        ("none", "\n", ["none\n"]),
    ],
)
def test_a_document_ends_with_its_separator(text, separator, expected):
    assert documents_of(text, separator) == expected


def naive_documents(text, separator):
    """Cut a text that ends with a separator, by looking for one after another."""
    documents, start = [], 0
    while start < len(text):
        match = text.index(separator, start)
        end = match + len(separator)
        while text.find(separator, match + 1, end + len(separator)) >= 0:  # it touches, or overlaps
            match = text.index(separator, match + 1)
            end = match + len(separator)
        documents.append(text[start:end])
        start = end
    return documents


@promises.DOCUMENTS
@settings(deadline=None, max_examples=300, derandomize=True)
@given(
    text=st.text("ab%\n", min_size=1, max_size=30), separator=st.sampled_from(["\n", "\n\n", "\n%\n", "aba"])
)
def test_documents_are_those_of_a_naive_search_and_make_the_text(text, separator):
    documents = documents_of(text, separator)
    whole = "".join(documents)
    added = whole[len(text) :]
    assert whole.startswith(text) and whole.endswith(separator) and separator.endswith(added)
    assert not added or not text.endswith(separator)
    assert documents == naive_documents(whole, separator)


def test_documents_are_put_in_another_order():
    cut = rearranged(cut_into_documents(ids_of("a\nbb\nccc\n"), ids_of("\n")), np.array([2, 0, 1]))
    assert cut.ids.tobytes() == b"ccc\na\nbb\n"
    assert cut.bounds.tolist() == [0, 4, 6, 9]


@pytest.mark.parametrize(
    ("lengths", "fractions", "expected"),
    [
        ([10] * 10, [0.0, 0.1], [0, 1]),
        ([10] * 10, [0.2, 0.3], [2, 3]),
        ([10] * 10, [0.14, 0.16], [1, 2]),  # the nearest number
        ([10] * 3, [0.01, 0.01], [1, 1]),  # at least one
        ([50, 50], [0.0, 0.0], [0, 0]),
        ([90, 10], [0.5, 0.4], [1, 1]),
    ],
)
def test_a_share_is_the_number_of_documents_that_comes_nearest(lengths, fractions, expected):
    assert shares(np.concatenate([[0], np.cumsum(lengths)]), fractions) == expected


# ---- the dataset ---------------------------------------------------------------------------------

NAMES = sorted({"".join(DICE.choices("klmnrst", k=2)) + "aeiou"[n % 5] + str(n) for n in range(300)})


@pytest.fixture
def names(tmp_path) -> Config:
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    return Config(corpus=str(tmp_path / "names.txt"), separator="\n", test_fraction=0.1)


def split_documents(config) -> dict[str, list[str]]:
    dataset = load_dataset(config)
    return {name: dataset.vocabulary.decode(ids).splitlines() for name, ids in dataset.splits.items()}


@promises.DOCUMENTS
def test_documents_are_held_out_whole_and_from_everywhere(names):
    parts = split_documents(names)
    assert sorted(itertools.chain(*parts.values())) == NAMES
    sizes = [sum(len(name) + 1 for name in part) for part in parts.values()]
    np.testing.assert_allclose(np.array(sizes) / sum(sizes), [0.8, 0.1, 0.1], atol=0.003)
    for part in ("validation", "test"):
        places = np.array([NAMES.index(name) for name in parts[part]])
        assert places.min() < 60 and places.max() > 240 and abs(places.mean() - 150) < 40
        assert (np.diff(places) > 0).mean() < 0.8  # not in the order of the list


@promises.DOCUMENTS
def test_the_same_documents_are_held_out_whatever_the_seed(names):
    assert split_documents(names) == split_documents(names.replace(seed=5))


def test_the_first_training_document_begins_at_0_and_each_after_a_separator(names):
    dataset = load_dataset(names)
    ids, starts = np.asarray(dataset.splits["train"]), dataset.starts
    assert len(starts) == len(dataset.vocabulary.decode(ids).splitlines()) and starts[0] == 0
    assert (ids[starts[1:] - 1] == dataset.vocabulary.encode("\n")[0]).all()
    assert ids[-1] == dataset.vocabulary.encode("\n")[0]
    assert isinstance(dataset.training_text, Documents)


def test_windows_read_documents_in_one_order(names):
    dataset = load_dataset(names.replace(batching="windows"))
    assert dataset.starts is None
    assert dataset.training_text is dataset.splits["train"]


@promises.ANY_SETTING
@pytest.mark.parametrize("separator", ["|", "xyz", "k1\n%"])
def test_a_separator_that_parts_nothing_is_refused(names, separator):
    with pytest.raises(JaxcharError, match=r"separator .*, or separator=None for one") as refused:
        load_dataset(names.replace(separator=separator))
    assert repr(separator) in str(refused.value) and "\n" not in str(refused.value)


@promises.ANY_SETTING
def test_an_empty_separator_is_refused():
    with pytest.raises(JaxcharError, match=r"separator must be .* empty"):
        Config(separator="")


@pytest.mark.parametrize(
    ("typed", "separator"),
    [
        (r"\n", "\n"),
        (r"\n%\n", "\n%\n"),
        (r"\r\n", "\r\n"),
        (r"\\n", r"\n"),
        ("|", "|"),
        ("\n", "\n"),
        ("none", None),
        ("None", None),
        ("<|end|>", "<|end|>"),
    ],
)
def test_a_separator_may_be_typed_with_escapes(typed, separator):
    assert typed_separator(typed) == separator
    assert parse_arguments(None, ["--separator", typed]).config.separator == separator


def test_a_separator_that_is_not_typed_stays_as_it_is():
    default = Config(separator="\\n")
    assert parse_arguments(default, []).config.separator == "\\n"


# ---- another order every epoch -------------------------------------------------------------------

LENGTHS = [1, 7, 3, 12, 2, 5, 5, 9, 1, 4, 8, 3]  # of documents that hold 100, 101, ..., 200, ...
STARTS = np.cumsum([0, *LENGTHS[:-1]])
TEXT = jnp.asarray(
    np.concatenate([100 * (n + 1) + np.arange(length) for n, length in enumerate(LENGTHS)]), jnp.uint16
)
CUT = Streams(len(TEXT), 3, 1)  # one lane, which reads everything but the last characters


@partial(jax.jit, static_argnums=0)
def traced(cut, text, first, key):
    """The batches of the epoch that begins with a step; compiled once for each way of cutting."""
    reading = cut.reading(text, first, key)
    return jax.vmap(lambda n: cut.batch(reading, first + n, key))(jnp.arange(cut.steps_per_epoch))


def read(cut, number, key=KEY, text=None):
    """Return what the lanes of an epoch read, [B, steps * T], and the last target."""
    text = Documents.of(TEXT, STARTS) if text is None else text
    batch = jax.tree.map(np.asarray, traced(cut, text, jnp.int32(number * cut.steps_per_epoch), key))
    assert batch.weights.all()
    np.testing.assert_array_equal(batch.targets[:-1, :, -1], batch.inputs[1:, :, 0])
    return np.concatenate([*batch.inputs, batch.targets[-1, :, -1:]], axis=1)


def order_of(characters) -> list[int]:
    """Return which documents a lane reads, in order; all but the last must be whole."""
    found, place = [], 0
    characters = np.asarray(characters).tolist()
    while place < len(characters):
        number = characters[place] // 100 - 1
        whole = (100 * (number + 1) + np.arange(LENGTHS[number])).tolist()
        part = characters[place : place + len(whole)]
        assert part == whole[: len(part)]
        found, place = [*found, number], place + len(part)
    return found


@promises.DOCUMENTS
def test_every_epoch_reads_whole_documents_in_an_order_of_its_own():
    orders = [order_of(read(CUT, number)[0]) for number in range(4)]
    for order in orders:
        assert len(set(order)) == len(order) >= len(LENGTHS) - 2  # nearly all, none twice
    assert len({tuple(order) for order in orders}) == 4


def test_lanes_share_the_documents_of_an_epoch():
    whole = read(CUT, 2)[0]
    cut = replace(CUT, batch_size=4)
    for row, lane in enumerate(read(cut, 2)):
        start = row * cut.lane_chars
        assert lane.tolist() == whole[start : start + len(lane)].tolist()


@pytest.mark.slow
def test_documents_with_offsets_are_a_ring():
    whole = np.asarray(
        Documents.of(TEXT, STARTS).in_order(jax.random.fold_in(jax.random.fold_in(KEY, 2), 1))[
            jnp.arange(len(TEXT))
        ]
    ).tolist()
    found = read(replace(CUT, offsets=True), 2)[0].tolist()
    first = whole.index(found[0])
    assert found == (whole[first:] + whole[:first])[: len(found)]


def test_the_order_follows_from_key_and_epoch_alone():
    once, again, other = (read(CUT, 3, jax.random.key(seed))[0].tolist() for seed in (1, 1, 2))
    assert once == again != other


def test_of_very_many_documents_neighbours_stay_together(monkeypatch):
    monkeypatch.setattr(batches_module, "MOST_GROUPS", 5)
    text = Documents.of(TEXT, STARTS)
    assert text.starts.tolist() == STARTS[::3].tolist()
    order = order_of(read(CUT, 1, text=text)[0])
    groups = [number for number in order if number % 3 == 0]
    assert order[: 3 * len(groups) - 3] == [g + n for g in groups for n in range(3)][: 3 * len(groups) - 3]
    assert groups != sorted(groups)


V, N = 5, 150
IDS = np.random.default_rng(0).integers(0, V, N).astype(np.uint8)
LEARNING = TINY.replace(
    corpus="auto",
    separator="\n",
    hidden_size=4,
    seq_len=5,
    weight_dropout=0.2,
    lane_offsets=True,
    log_every=3,
)


@cache
def learner(mesh=None):
    """Return a function from (state, stop) to the state at that step, and the first state."""
    program = make_program(LEARNING, V, N, mesh)
    text = Documents.of(jnp.asarray(IDS), np.arange(0, N, 3))
    text = text if mesh is None else replicate(text, mesh)

    def to_step(stop, state):
        state = jax.tree.map(jnp.array, state)
        state, finite = program.train_steps(state, text, np.int32(stop), program.seed)
        assert finite
        return jax.device_get(state)

    return to_step, program.initial_state()


def same_bits(one, other):
    leaves, others = jax.tree.leaves(one), jax.tree.leaves(other)
    return all(a.tobytes() == b.tobytes() for a, b in zip(leaves, others, strict=True))


@promises.EVERY_STEP
def test_resumed_at_any_step_and_in_calls_of_any_length_it_ends_in_the_same_bits(tried):
    to_step, state = learner()
    states = [state]
    for step in range(1, 19):  # an epoch has 7
        states.append(to_step(step, states[-1]))
        assert states[-1].step == step
    tried(sum(same_bits(to_step(18, start), states[18]) for start in states[:18]), 18)


@pytest.mark.slow
def test_several_devices_read_the_documents_in_the_same_order():
    alone, several = (to_step(18, state) for to_step, state in (learner(), learner(make_mesh(2, 4))))
    for one, other in zip(jax.tree.leaves(alone), jax.tree.leaves(several), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-5)


# ---- runs ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("documents")
    (folder / "names.txt").write_text("\n".join(NAMES))
    config = TINY.replace(
        corpus=str(folder / "names.txt"),
        separator="\n",
        max_chars=None,
        epochs=2,
        learning_rate=0.05,
        sample_from="training",
        sample_length=0,
        hidden_size=12,
        keep_checkpoints=0,
    )
    jaxchar.fit(config, folder / "run", display=quiet())
    return folder / "run"


def test_a_run_resumed_in_the_middle_of_an_epoch_ends_the_same(trained, tmp_path):
    config = Config.from_json(json.loads((trained / "config.json").read_text()))
    steps = load_steps(trained)
    jaxchar.fit(config.replace(max_steps=steps // 2 + 3), tmp_path / "run", display=quiet())
    jaxchar.resume(tmp_path / "run", config=config, display=quiet())
    whole, halves = timeless_metrics(trained), timeless_metrics(tmp_path / "run")
    assert whole[-1] == halves[-1]


def load_steps(run_dir: Path) -> int:
    return json.loads((run_dir / "summary.json").read_text())["steps"]


@pytest.mark.slow
def test_samples_of_the_training_go_on_from_where_it_is(trained, tmp_path, monkeypatch):
    config = Config.from_json(json.loads((trained / "config.json").read_text()))
    seen = []

    def look(trainer):
        batches, key = trainer.program.batches, jax.random.fold_in(jax.random.key(config.seed), 1)
        step = jnp.int32(trainer.step - 1)
        reading = batches.reading(trainer.dataset.training_text, step, key)
        last = batches.batch(reading, step, key).targets[0, -1]
        seen.append(
            (
                trainer._sampler.start(trainer.state, trainer.step, KEY)[2],
                trainer.dataset.vocabulary.decode(np.asarray(last)[None]),
            )
        )

    monkeypatch.setattr(Trainer, "_sample_now", look)
    config = config.replace(sample_every=3, sample_length=5)
    jaxchar.fit(config, tmp_path / "run", display=quiet())
    assert len(seen) > 5 and all(prompt == last for prompt, last in seen)


@pytest.mark.parametrize(
    ("given", "separator"),
    [({}, "\n"), pytest.param({"separator": None}, None, marks=pytest.mark.slow)],
)
def test_documents_are_recognised_and_said_where_settings_are_chosen(tmp_path, monkeypatch, given, separator):
    monkeypatch.setattr("jaxchar.training.planner.seconds_per_step", lambda *_: 0.001)
    text = tmp_path / "names.txt"
    text.write_text(lines(name))
    said = io.StringIO()
    display = TrainingDisplay(Console(file=said, width=1_000))
    small = {"hidden_size": 4, "epochs": 2, "sample_length": 0, "optimizer": "sgd", "seq_len": 16}
    small |= {"eval_every": 1_000, "checkpoint_every": 1_000, "recurrent_init": "same"}  # quick
    small |= {"schedule": "constant"}  # so that a longer run is the same program
    run = jaxchar.fit(str(text), tmp_path / "run", display=display, **small, **given)
    config = Config.from_json(json.loads((run.run_dir / "config.json").read_text()))
    assert config.separator == separator
    assert ("many short texts, one per line" in said.getvalue()) == (separator is not None)
    again = load_dataset(config)  # as a resumed run reads it
    held_out = load_dataset(config.replace(separator=None)).whole[-len(again.splits["validation"]) :]
    assert (np.asarray(again.splits["validation"]).tolist() == held_out.tolist()) == (separator is None)
    jaxchar.resume(run.run_dir, config=config.replace(epochs=3), display=quiet())


def printed(*arguments) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        sample.main([str(argument) for argument in arguments])
    return out.getvalue(), err.getvalue()


def test_documents_are_written_whole_as_they_would_stand_in_the_file(trained):
    model = jaxchar.load(trained)
    documents = model.documents(10, seed=3)
    assert len(documents) == 10 and len(set(documents)) > 5
    assert all(document and "\n" not in document for document in documents)
    assert model.documents(4, seed=3) == documents[:4]
    assert model.documents(10, seed=4) != documents
    out, _ = printed("--ckpt", trained, "--documents", 10, "--seed", 3)
    assert out == "".join(document + "\n" for document in documents)
    out, _ = printed("--ckpt", trained, "--documents", 10, "--seed", 3, "--json")
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["text"] for record in records] == documents
    assert all(record["whole"] for record in records)


def test_how_many_are_drawn_side_by_side_changes_no_document(trained, monkeypatch):
    model = jaxchar.load(trained)
    documents = model.documents(10, seed=3)
    monkeypatch.setattr(writer_module, "DOCUMENTS_TOGETHER", 4)
    assert model.documents(10, seed=3) == documents


def test_a_document_is_what_generating_after_a_separator_writes(trained):
    model = jaxchar.load(trained)
    (first,) = model.documents(1, seed=7)
    assert model.generate("\n", 200, stop="\n", seed=7) == first + "\n"


def test_empty_documents_are_left_out_and_the_next_ones_take_their_places(trained, monkeypatch):
    model = jaxchar.load(trained)
    numbers = []

    def write(prompts, config, first):
        numbers.extend(range(first, first + len(prompts)))
        yield ["\n" if number % 2 else f"{number}\n" for number in range(first, first + len(prompts))]

    monkeypatch.setattr(model.session, "write_batch", write)
    assert model.documents(3) == ["0", "2", "4"]
    assert numbers == list(range(numbers[-1] + 1))
    monkeypatch.setattr(model.session, "write_batch", lambda prompts, *_: iter([["\n"] * len(prompts)]))
    assert model.documents(3) == []


def test_a_long_document_is_cut_off_and_the_user_is_told(trained):
    out, err = printed("--ckpt", trained, "--documents", 5, "--seed", 3, "--length", 1)
    assert [len(line) for line in out.splitlines()] == [1] * 5
    assert "5 of 5 documents were cut off at 1 characters" in err
    assert {len(document) for document in jaxchar.load(trained).documents(5, longest=1)} == {1}


def refusal(*arguments) -> str:
    err = io.StringIO()
    with redirect_stderr(err), pytest.raises(SystemExit) as left:
        sample.main([str(argument) for argument in arguments])
    assert left.value.code == 2
    assert err.getvalue().count("\n") == 1
    return err.getvalue()


def test_a_model_of_one_running_text_writes_no_documents(tmp_path):
    jaxchar.fit(TINY.replace(max_steps=1), tmp_path / "run", display=quiet())
    assert "one running text" in refusal("--ckpt", tmp_path / "run", "--documents", 3)
    with pytest.raises(JaxcharError, match="one running text"):
        jaxchar.load(tmp_path / "run").documents(3)


@pytest.mark.parametrize(
    "more",
    [
        ["--prompt", "A"],
        ["--stop", "x"],
        ["--num-samples", 2],
        ["--show-alternatives"],
        ["--interactive"],
        ["--from-corpus", 3],
        ["--temperature", 0.5, 1.0],
    ],
    ids=lambda more: more[0],
)
def test_what_does_not_go_with_documents_is_refused(trained, more):
    assert more[0] in refusal("--ckpt", trained, "--documents", 3, *more)


@pytest.mark.parametrize("count", [0, -1])
def test_a_number_of_documents_below_one_is_refused(trained, count):
    assert f"but it is {count}" in refusal("--ckpt", trained, "--documents", count)


def test_a_position_of_the_corpus_is_one_of_the_file(trained):
    out, _ = printed("--ckpt", trained, "--from-corpus", 10, "--length", 0)
    assert out.rstrip("\n") == "\n".join(NAMES)[10:26].rstrip("\n")


# ---- recognised ----------------------------------------------------------------------------------

SYLLABLES = ["ka", "lo", "mi", "ra", "to", "ne", "sha", "li", "bo", "da", "ru", "vi", "an", "el", "or", "in"]
FIRST = [
    "Anna",
    "Bertha",
    "Carl",
    "Dora",
    "Emil",
    "Gustav",
    "Hedwig",
    "Ivan",
    "John",
    "Ludwig",
    "Maria",
    "Otto",
    "Paula",
    "Rosa",
    "Theo",
    "Viktor",
]
NOUNS = [
    "Garden",
    "River",
    "Winter",
    "House",
    "Silence",
    "Machine",
    "Letter",
    "Island",
    "Shadow",
    "Mountain",
    "Dream",
    "Ocean",
    "Road",
]
KINDS = ["Lost", "Golden", "Silent", "Broken", "Hidden", "Burning", "Distant", "Little", "Great"]
THINGS = [
    "flour",
    "sugar",
    "eggs",
    "butter",
    "milk",
    "salt",
    "pepper",
    "onions",
    "garlic",
    "tomatoes",
    "rice",
    "beans",
]
PLAIN = [
    "time",
    "people",
    "water",
    "music",
    "stone",
    "light",
    "country",
    "morning",
    "question",
    "answer",
    "river",
    "money",
]


def name() -> str:
    return "".join(DICE.choice(SYLLABLES) for _ in range(DICE.randint(2, 4)))


def title() -> str:
    return DICE.choice(
        [
            f"The {DICE.choice(KINDS)} {DICE.choice(NOUNS)}",
            f"{DICE.choice(NOUNS)} of the {DICE.choice(KINDS)} {DICE.choice(NOUNS)}",
            f"A {DICE.choice(NOUNS)} in {DICE.choice(NOUNS)}: {name().capitalize()}'s Story",
            f"How to Build a {DICE.choice(KINDS)} {DICE.choice(NOUNS)} in {DICE.randint(2, 90)} Days",
        ]
    )


def sentence() -> str:
    words = [
        DICE.choice([*PLAIN, *THINGS, "the", "of", "and", "is", name()]) for _ in range(DICE.randint(6, 20))
    ]
    return " ".join(words).capitalize() + "."


def recipe() -> str:
    things = DICE.sample(THINGS, 4)
    amounts = [f"{DICE.randint(1, 500)} g {thing}" for thing in things]
    steps = [
        f"Mix the {things[0]} with the {things[1]}, and wait.",
        f"Bake it until golden; add {things[3]}.",
    ]
    dish = f"{name().capitalize()} {DICE.choice(['Soup', 'Cake', 'Stew'])}"
    return "\n".join([dish, *amounts, *steps])


def lines(make, count=300) -> str:
    return "\n".join(dict.fromkeys(make() for _ in range(count))) + "\n"


def wrapped(text: str, width: int = 70) -> str:
    return textwrap.fill(text, width)


PROSE = "\n\n".join(wrapped(" ".join(sentence() for _ in range(6))) for _ in range(60))
VERSE = [sentence()[:40].rstrip(".") + DICE.choice([",", ",", ".", ";", ""]) for _ in range(200)]
FORTUNES = "\n%\n".join(wrapped(" ".join(sentence() for _ in range(n % 3 + 1))) for n in range(60)) + "\n%\n"

MANY = {
    "names": (lines(lambda: name().capitalize()), "\n"),
    "sorted names": ("\n".join(sorted(lines(lambda: name().capitalize()).split())), "\n"),
    "lower-case names": (lines(name), "\n"),
    "full names": (lines(lambda: f"{DICE.choice(FIRST)} {name().capitalize()}"), "\n"),
    "last names first": (lines(lambda: f"{name().capitalize()}, {DICE.choice(FIRST)}"), "\n"),
    "names from Windows": (lines(lambda: name().capitalize()).replace("\n", "\r\n"), "\r\n"),
    "Chinese names": (
        lines(
            lambda: (
                DICE.choice("李王张刘陈杨赵")
                + "".join(DICE.choices("伟芳娜秀英敏静丽强磊", k=DICE.choice([1, 2])))
            )
        ),
        "\n",
    ),
    "titles": (lines(title, 500), "\n"),
    "recipes": ("\n\n".join(recipe() for _ in range(100)), "\n\n"),
    "labelled recipes": ("\n\n".join("Title: " + recipe() for _ in range(100)) + "\n", "\n\n"),
    "recipes from Windows": ("\n\n".join(recipe() for _ in range(100)).replace("\n", "\r\n"), "\r\n\r\n"),
    "fortunes": (FORTUNES, "\n%\n"),
    "fortunes from Windows": (FORTUNES.replace("\n", "\r\n"), "\r\n%\r\n"),
    "end-of-text marks": (FORTUNES.replace("%", "<|endoftext|>"), "\n<|endoftext|>\n"),
}

MODULES = (argparse, json, textwrap, jaxchar.config, jaxchar.training.trainer)
ONE = {
    "nothing": "",
    "a line": "abc",
    "a long line": "abc def. " * 100_000,
    "line breaks": "\n" * 5_000,
    "prose": PROSE,
    "prose without empty lines": PROSE.replace("\n\n", "\n"),
    "prose in lower case": PROSE.lower(),
    "prose in lower case without marks": re.sub(r"[^a-z\n ]", "", PROSE.lower()).replace("\n\n", "\n"),
    "a paragraph a line": PROSE.replace("\n\n", "|").replace("\n", " ").replace("|", "\n"),
    "a word a line": "\n".join(PROSE.split()),
    "documentation": "".join(topics[name] for name in sorted(topics)),
    "verse": "\n".join(VERSE),
    "stanzas": "\n\n".join("\n".join(VERSE[n : n + 4]) for n in range(0, 200, 4)),
    "a play": "\n\n".join(f"{DICE.choice(FIRST)}:\n{wrapped(sentence())}" for _ in range(200)),
    "a play in capitals": "\n\n".join(f"{DICE.choice(FIRST[:6]).upper()}\n{sentence()}" for _ in range(200)),
    "a conversation": "\n".join(f"{DICE.choice(['Ann', 'Bob'])}: {title()}" for _ in range(300)),
    "subtitles": "\n\n".join(f"{n}\n00:00:{n % 60:02},0 --> 00:01:00,0\n{sentence()}" for n in range(300)),
    "a table": "\n".join(f"{n},{name()},{DICE.randint(1, 90)}" for n in range(300)),
    "a table of words": "name,city\n" + lines(lambda: f"{name()},{name()}"),
    "a table with tabs": lines(lambda: f"{name()}\t{name()}"),
    "a log": lines(
        lambda: f"2024-01-{DICE.randint(1, 28):02} 12:{DICE.randint(0, 59):02}:07 INFO {name()} started"
    ),
    "a system's log": lines(
        lambda: f"Jan {DICE.randint(1, 28)} 12:00:{DICE.randint(0, 59):02} host {name()}: up"
    ),
    "numbers": lines(lambda: str(DICE.randint(1, 99_999))),
    "an outline": "\n".join(f"{n}. {title()}" for n in range(300)),
    "Markdown's list": "\n".join(f"- {title()}" for _ in range(300)),
    "TeX": "\n".join(f"%\n% {title()}\n%\n\\section{{{title()}}}\n{sentence()}" for _ in range(60)),
    "a settings file": "\n".join(f"{name()} = {name()}" for _ in range(300)),
    "few names": lines(lambda: name().capitalize(), 20),
    "Chinese verse": "\n".join(
        "".join(DICE.choices("床前明月光疑是地上霜举头望低", k=5)) for _ in range(200)
    ),
    **{f"the code of {module.__name__}": Path(module.__file__).read_text() for module in MODULES},
    **{
        file.name: file.read_text()
        for file in Path(__file__).parent.parent.parent.glob("*")
        if file.name in ("README.md", "LICENSE", "Makefile", "pyproject.toml")
    },
}


@pytest.mark.parametrize("kind", MANY)
def test_many_short_texts_are_recognised(kind):
    text, separator = MANY[kind]
    assert detect_separator(text) == separator


def test_a_great_many_short_texts_are_recognised():
    text = lines(lambda: f"{DICE.choice(FIRST)} {name()} {name()}", 80_000)
    assert detect_separator(text) == "\n"


@pytest.mark.parametrize("kind", ONE)
def test_what_has_an_order_is_one_running_text(kind):
    assert detect_separator(ONE[kind]) is None
    assert detect_separator(ONE[kind].replace("\n", "\r\n")) is None


def test_a_very_long_text_is_judged_at_once():
    text = (PROSE + "\n\n") * 1_000
    started = time.perf_counter()
    assert detect_separator(text) is None
    assert time.perf_counter() - started < 5
