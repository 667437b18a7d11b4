"""What a text shares with the training text of a checkpoint, from Python."""

import numpy as np
import pytest
from runs import TINY, quiet

import jaxchar
from jaxchar.config import Config
from jaxchar.data.corpus import load_corpus
from jaxchar.data.ngrams import SharedPassage
from jaxchar.data.vocabulary import Vocabulary
from jaxchar.errors import JaxcharError
from jaxchar.scoring.memorization import memorization, overlap, trained_on
from jaxchar.scoring.options import MemorizationOptions


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "trained"
    jaxchar.fit(TINY, run_dir, display=quiet())
    return run_dir


def test_windows_beyond_max_windows_were_not_trained_on():
    config = Config(batching="windows", seq_len=4, stride=3, max_windows=10)
    assert len(trained_on(config, np.arange(100))) == 9 * 3 + 5
    assert len(trained_on(config.replace(max_windows=None), np.arange(99))) == 98
    assert len(trained_on(Config(), np.arange(100))) == 100


def test_an_overlap_has_the_shares_and_the_longest_passage():
    vocabulary = Vocabulary("abcdefgh")
    found = overlap(vocabulary.encode("habcdeh"), vocabulary.encode("aabcdefg"), vocabulary)
    assert (found.characters, found.longest, found.passage) == (7, SharedPassage(5, 1, 1), "abcde")
    assert found.copied_shares[5] == 1 / 3
    assert found.copied_shares[10] is None
    assert found.to_json()["copied_share"]["5"] == 1 / 3


def test_what_the_model_writes_is_compared_with_the_training_text(trained):
    told = []
    options = MemorizationOptions(length=50, temperature=0.5, seed=3)
    report = memorization(trained, options, on_ready=lambda loaded: told.append(loaded.path))
    whole = load_corpus(TINY).text
    assert told == [report.checkpoint]
    assert (report.training_chars, report.text.characters) == (900, 50)
    assert report.held_out is not None and report.held_out.characters == 50
    assert report.source == "written at temperature 0.5, seed 3"
    written = jaxchar.load(trained).generate(whole[900:], 50, temperature=0.5, seed=3)
    assert report.text.passage in written and report.text.passage in whole[:900]


def test_what_it_writes_goes_by_the_memory_as_far_as_asked(trained):
    model, opening = jaxchar.load(trained), load_corpus(TINY).text[900:]
    for options in ({"memory": 0.0}, {"memory": 0.5, "memory_context": 24}):
        report = memorization(trained, MemorizationOptions(length=80, seed=3, **options))
        writer = model.with_memory(options["memory"], options.get("memory_context", 8))
        assert report.text.passage in writer.generate(opening, 80, seed=3)
    with pytest.raises(JaxcharError, match="memory must be a number from 0 to 1, but it is 2"):
        MemorizationOptions(memory=2)
    with pytest.raises(JaxcharError, match="must be 0 or more, but it is -1"):
        MemorizationOptions(memory_context=-1)


def test_a_file_can_be_compared_though_it_has_other_characters(trained, tmp_path):
    (tmp_path / "t.txt").write_text("\u017c" + load_corpus(TINY).text[100:160] + "\u017c", encoding="utf-8")
    report = memorization(trained, MemorizationOptions(text=str(tmp_path / "t.txt")))
    assert report.text.longest == SharedPassage(60, 1, 100)
    assert report.source == str(tmp_path / "t.txt")
