"""A model that is copied, pickled, used by threads, sent to other processes: the same results everywhere."""

import copy
import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest
from small_model import make_model

import jaxchar
from jaxchar import ambient


def results_of(model):
    """Return what a model writes, scores and computes."""
    written = model.generate("a", 60, seed=3), "".join(model.stream("b", 30))
    return *written, model.score("abc de").surprises.tolist(), model.logits("abc").tolist()


@pytest.mark.parametrize(
    ("way", "remembers"), [(copy.deepcopy, True), (lambda model: pickle.loads(pickle.dumps(model)), False)]
)
def test_a_copy_gives_the_same_results_and_has_the_same_settings(way, remembers):
    model = make_model(cell="gru", embedding_size=3)
    model = model.adapted("abcde abcde") if remembers else model
    results_of(model)  # what was compiled for it is no part of it
    other = way(model)
    assert results_of(other) == results_of(model)
    assert (other.config, other.vocabulary) == (model.config, model.vocabulary)
    assert (other.remembering is None) == (not remembers)
    for mine, theirs in zip(jax.tree.leaves(other.params), jax.tree.leaves(model.params), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_threads_that_use_one_fresh_model_at_once_get_what_one_gets():
    expected = results_of(make_model())
    fresh = make_model()
    with ThreadPoolExecutor(4) as threads:
        assert all(found == expected for found in threads.map(results_of, [fresh] * 4))


def test_after_a_fork_every_way_to_compute_says_what_to_do(monkeypatch, tmp_path):
    model = make_model()
    monkeypatch.setattr(ambient, "_is_forked_from_jax", False)
    ambient._note_fork()  # as in a child of this process
    for use in (
        lambda: model.generate("a", 3),
        lambda: list(model.stream("a", 3)),
        lambda: model.score("abc"),
        lambda: model.logits("abc"),
        lambda: model.apply(model.params, [1]),
        lambda: model.initial_carry(),
        lambda: pickle.loads(pickle.dumps(model)),
        lambda: jaxchar.fit(jaxchar.Config(corpus="python"), tmp_path / "run"),
        lambda: jaxchar.load(tmp_path),
    ):
        with pytest.raises(jaxchar.JaxcharError, match=r"forked .*get_context\('spawn'\)|no checkpoint"):
            use()


def answer(model, answers):
    """Send what a model gives in this process."""
    try:
        answers.send(results_of(model))
    except jaxchar.JaxcharError as error:
        answers.send(str(error))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
def test_another_process_gives_the_same_results_or_says_why_not(method):
    model = make_model()
    expected = results_of(model)
    context = multiprocessing.get_context(method)
    here, there = context.Pipe()
    child = context.Process(target=answer, args=(model, there))
    child.start()
    assert here.poll(120), "no answer"
    found = here.recv()
    child.join()
    assert "start processes with multiprocessing" in found if method == "fork" else found == expected
