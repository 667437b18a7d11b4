"""Texts in progress: the same characters however they are asked for, and stops that stop."""

import itertools

import numpy as np
import pytest
from small_model import SYMBOLS, make_model

from jaxchar.config import SampleConfig
from jaxchar.errors import JaxcharError
from jaxchar.sampling import generate
from jaxchar.sampling.session import up_to_stop

PROMPTS = ["a", "bcd e", "\n"]
KINDS = pytest.mark.parametrize("kind", ["streams", "windows"])


@pytest.fixture(scope="module")
def models():
    return {kind: make_model(batching=kind) for kind in ("streams", "windows")}


@KINDS
def test_a_text_of_a_batch_is_the_text_written_alone(models, kind):
    model, config = models[kind], SampleConfig(length=100, seed=4)
    batch = model.generate_batch(PROMPTS, 100, seed=4)
    for number, prompt in enumerate(PROMPTS):
        start = model.session.start(prompt)
        alone = "".join(piece for piece, _ in model.session.write(start, config, number))
        assert batch[number] == alone
    assert batch[0] == model.generate("a", 100, seed=4) == "".join(model.stream("a", 100, seed=4))
    assert len(set(model.generate_batch(["a"] * 3, 100, seed=4))) == 3


@KINDS
def test_writing_in_turns_is_writing_at_once(models, kind):
    writer, passage = models[kind].session, models[kind].session.start("ab")
    for length in (3, 20, 1, 9):
        *_, (_, passage) = writer.write(passage, SampleConfig(length=length, seed=2))
    assert passage.text == "ab" + models[kind].generate("ab", 33, seed=2)
    assert passage.sampled == 33


@KINDS
def test_a_passage_can_be_gone_back_to(models, kind):
    writer = models[kind].session
    before = writer.extend(writer.start("a"), "bcdeab")
    twice = ["".join(piece for piece, _ in writer.write(before, SampleConfig(length=20))) for _ in range(2)]
    assert len(twice[0]) == 20 and twice[1] == twice[0]
    assert writer.probabilities(before) == pytest.approx(
        writer.probabilities(writer.start("abcdeab")), abs=1e-6
    )


@KINDS
def test_a_text_ends_with_its_stop_and_can_be_taken_up_there(models, kind, monkeypatch):
    monkeypatch.setattr(generate, "FIRST_PIECE", 3)
    model = models[kind]
    whole = model.generate("a", 60, seed=1)
    across_pieces = whole[1:5]  # the first piece has three characters
    for stop in (whole[17:20], whole[:1], across_pieces, "abcdeabcde", [whole[30:34], whole[11:14]]):
        strings = [stop] if isinstance(stop, str) else stop
        ends = [whole.find(string) + len(string) for string in strings if string in whole]
        expected = whole[: min(ends, default=60)]
        assert model.generate("a", 60, seed=1, stop=stop) == expected
        assert model.generate_batch(["a", "b"], 60, seed=1, stop=stop)[0] == expected
    config = SampleConfig(length=60, seed=1, stop=(whole[17:20],))
    *_, (_, passage) = model.session.write(model.session.start("a"), config)
    rest = model.session.write(passage, SampleConfig(length=60 - passage.sampled, seed=1))
    assert passage.text[1:] + "".join(piece for piece, _ in rest) == whole


def test_a_stop_in_one_text_of_a_batch_does_not_stop_the_others(models):
    model = models["streams"]
    whole = model.generate_batch(PROMPTS, 60, seed=1)
    stop = whole[1][20:24]
    assert all(stop in text for text in whole[1:2])
    for text, stopped in zip(whole, model.generate_batch(PROMPTS, 60, seed=1, stop=stop), strict=True):
        assert stopped == (text[: text.find(stop) + 4] if stop in text else text)


def test_stops_are_found_wherever_the_pieces_are_cut():
    text, stop = "aabaabbabcab", ("abb", "bc", "cab")
    for cuts in itertools.combinations(range(1, len(text)), 2):
        tail = found = ""
        for start, end in itertools.pairwise((0, *cuts, len(text))):
            kept = up_to_stop(tail, text[start:end], stop)
            found += text[start:end] if kept is None else kept
            if kept is not None:
                break
            tail = found[-2:]
        assert found == "aabaabb"


@KINDS
def test_choices_are_the_models_probabilities_and_the_best_others(models, kind):
    writer = models[kind].session
    text = models[kind].generate("ab", 150, seed=3)  # longer than a call reads
    start, choices = writer.start("ab"), list(writer.choices(writer.start("ab"), text, 3))
    assert "".join(choice.character for choice in choices) == text
    for n in (0, 1, 7, 149):
        row = writer.probabilities(writer.extend(start, text[:n]))[0]
        assert row.sum() == pytest.approx(1)
        own = SYMBOLS.index(text[n])
        assert choices[n].probability == pytest.approx(row[own], abs=1e-6)
        best = [SYMBOLS[symbol] for symbol in np.argsort(-row) if symbol != own][:3]
        assert [character for character, _ in choices[n].others] == best
    best = writer.most_probable(start, 2)
    assert best[0][1] >= best[1][1] >= max(p for c, p in writer.most_probable(start, 7)[2:])


WRONG = [
    ({"prompt": ""}, "the prompt is empty"),
    ({"prompt": "xa"}, "prompt: the vocabulary has no character 'x'"),
    ({"length": -1}, "length must be a whole number of at least 0"),
    ({"temperature": float("nan")}, "temperature must be a number of at least 0"),
    ({"top_k": -1}, "top_k"),
    ({"top_p": 0.0}, "top_p must be a number above 0 and at most 1, but it is 0.0"),
    ({"min_p": 1.5}, "min_p"),
    ({"seed": 2**32}, "seed"),
    ({"stop": ["a", ""]}, "stop must be a text of at least one character"),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG, ids=str)
def test_a_mistake_is_told_before_anything_is_drawn(models, wrong, said):
    model, prompt = models["streams"], wrong.get("prompt", "a")
    others = {name: value for name, value in wrong.items() if name != "prompt"}
    for call in (model.generate, model.stream, lambda prompt, **kw: model.generate_batch([prompt], **kw)):
        with pytest.raises(JaxcharError, match=said.replace("(", r"\(")):
            call(prompt, **others)


def test_no_prompts_no_texts(models):
    assert models["streams"].generate_batch([]) == []
    assert models["streams"].generate_batch(["a", "b"], 0) == ["", ""]


@KINDS
def test_surprises_of_a_text_are_those_of_score(models, kind):
    model, text = models[kind], "dcab\nea bd"
    found = model.session.surprises(model.session.start("ab"), text)
    np.testing.assert_allclose(found, model.score(text, context="ab").surprises, atol=1e-4)
    assert model.session.surprises(model.session.start("ab"), "").shape == (0,)
