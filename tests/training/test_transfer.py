"""A run that begins with another one: its weights, its optimizer's state, and characters that are new."""

import json
import math
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import promises
import pytest
from flax import nnx
from runs import TINY, quiet

import jaxchar
from jaxchar import train
from jaxchar.checkpoint.arrays import named_leaves
from jaxchar.checkpoint.find import Loaded, load_checkpoint
from jaxchar.config import Config
from jaxchar.data.vocabulary import Vocabulary
from jaxchar.errors import JaxcharError
from jaxchar.model.char_rnn import CharRNN
from jaxchar.training.step import make_program, state_structure
from jaxchar.training.transfer import NEW_PROBABILITY, transfer

pytestmark = pytest.mark.usefixtures("unmeasured")

KNOWN = Vocabulary("bdfgh\n")
GROWN = Vocabulary(KNOWN.symbols + "aceżz")  # before, between and after the known ones
KEPT = GROWN.encode(KNOWN.symbols)
NEW = GROWN.encode("aceżz")
BASE = Config(batch_size=2, seq_len=8, hidden_size=6, ema_decay=0.9)
ARCHITECTURES = [
    {"cell": "gru"},
    {"cell": "lstm"},
    pytest.param({"cell": "rnn"}, marks=pytest.mark.slow),
    pytest.param({"cell": "lstm", "num_layers": 2}, marks=pytest.mark.slow),
    {"cell": "gru", "hidden_size": (6, 5), "embedding_size": 4},
    {"cell": "gru", "embedding_size": 4, "tie_embeddings": True},
    {"cell": "lstm", "embedding_size": 6},  # as many as there are known characters, and as H
]


@cache
def first_state(config: Config, vocabulary: Vocabulary):
    """Return a state in its shapes, all zeros: none of it but its shapes may matter."""
    shapes = jax.eval_shape(make_program(config, len(vocabulary), 500).initial_state)
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def donor_of(config: Config, *parts: str, scale: float = 1.0) -> Loaded:
    """Return a checkpoint as if read from disk, every number in it another one."""
    state = first_state(config, KNOWN)
    rng = np.random.default_rng(0)

    def drawn(leaf):
        if leaf.dtype == jnp.int32:
            return jnp.int32(rng.integers(1, 100))
        return jnp.asarray(rng.normal(0, scale, leaf.shape), jnp.float32)

    metadata = SimpleNamespace(config=config, vocabulary=KNOWN)
    return Loaded(
        Path("donor"), metadata, {part: jax.tree.map(drawn, getattr(state, part)) for part in parts}, None, []
    )


def begun(donor: Loaded, config: Config, vocabulary: Vocabulary = GROWN):
    return transfer(donor, config, first_state(config, vocabulary), vocabulary)


def logits_of(config: Config, params, vocabulary: Vocabulary, text: str) -> jax.Array:
    model = nnx.merge(
        nnx.graphdef(nnx.eval_shape(lambda: CharRNN(config, len(vocabulary), rngs=nnx.Rngs(0)))), params
    )
    return model(jnp.asarray(vocabulary.encode(text))[None], model.initial_carry(1))[0][0]


def split_by_symbols(grown: np.ndarray, old: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the known and the new rows of an array (columns, where these are the symbols)."""
    axes = [axis for axis in range(old.ndim) if old.shape[axis] != grown.shape[axis]]
    if not axes:
        return grown, np.zeros(0)
    return np.take(grown, KEPT, axes[0]), np.take(grown, NEW, axes[0])


# ---- characters that are new ---------------------------------------------------------------------


@promises.NEW_CHARACTERS
@pytest.mark.parametrize("changes", ARCHITECTURES, ids=str)
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_new_characters_leave_every_number_of_the_old_ones_as_it_was(changes, optimizer):
    config = BASE.replace(optimizer=optimizer, **changes)
    donor = donor_of(config, "params", "average", "opt_state")
    after = begun(donor, config)
    larger = 0
    for part in ("params", "average", "opt_state"):
        before, now = named_leaves(donor.state[part]), named_leaves(getattr(after, part))
        assert before.keys() == now.keys()
        for name, old in before.items():
            known, new = split_by_symbols(np.asarray(now[name]), np.asarray(old))
            if _counts_steps_of_the_schedule(name, optimizer):
                assert known == 0
                continue
            np.testing.assert_array_equal(known, old, err_msg=name)
            larger += len(new) > 0
            if part == "opt_state":
                assert not new.any(), name
    tables = 2 if config.tie_embeddings else 3  # input table, head and its bias; a tied head is the table
    assert larger == tables * 4  # in: weights, average, mu, nu


def _counts_steps_of_the_schedule(name: str, optimizer: str) -> bool:
    ends = {"adamw": ("0.2.count",), "muon": ("adamw.inner_state.2.count", "adam.inner_state.2.count")}
    return name.endswith((*ends[optimizer], "inner_state.3.count"))


@promises.NEW_CHARACTERS
@pytest.mark.parametrize("changes", ARCHITECTURES, ids=str)
def test_on_known_text_known_characters_keep_their_logits_and_new_ones_hardly_any_probability(changes):
    config, text = BASE.replace(**changes), "fgh\ndbbdgf" * 3
    donor = donor_of(config, "average")
    before = logits_of(config, donor.state["average"], KNOWN, text)
    after = logits_of(config, begun(donor, config).params, GROWN, text)
    np.testing.assert_allclose(after[:, KEPT], before, rtol=1e-5, atol=1e-5)
    log_ratio = jax.nn.logsumexp(after[:, NEW], axis=1) - jax.nn.logsumexp(before, axis=1)
    assert log_ratio.max() <= math.log(NEW_PROBABILITY) + 1e-5


@promises.NEW_CHARACTERS
def test_even_a_model_that_knows_nothing_gives_new_characters_no_more():
    """Of equal logits the bound is reached."""
    donor = donor_of(BASE, "average", scale=0.0)
    after = logits_of(BASE, begun(donor, BASE).params, GROWN, "fgh")
    shares = jax.nn.softmax(after)[:, NEW].sum(axis=1)
    np.testing.assert_allclose(shares, NEW_PROBABILITY / (1 + NEW_PROBABILITY), rtol=1e-4)


def test_without_new_characters_all_weights_are_the_donors():
    donor = donor_of(BASE, "average")
    after = begun(donor, BASE, KNOWN)
    for part in (after.params, after.average):
        for mine, theirs in zip(jax.tree.leaves(part), jax.tree.leaves(donor.state["average"]), strict=True):
            np.testing.assert_array_equal(mine, theirs)


# ---- the optimizer's state -----------------------------------------------------------------------


def test_with_its_optimizer_a_run_begins_with_the_trained_weights_and_their_average():
    donor = donor_of(BASE, "params", "average", "opt_state")
    after = begun(donor, BASE, KNOWN)
    for part in ("params", "average"):
        mine, theirs = named_leaves(getattr(after, part)), named_leaves(donor.state[part])
        for name in mine:
            np.testing.assert_array_equal(mine[name], theirs[name])
    assert int(after.step) == 0


@promises.NOTHING_MIXED_UP
@pytest.mark.parametrize(
    ("there", "here", "said"),
    [
        ({"optimizer": "adamw"}, {"optimizer": "sgd"}, "optimizer: adamw there, sgd here"),
        ({"optimizer": "muon"}, {"optimizer": "adamw"}, "optimizer: muon there, adamw here"),
        ({"optimizer": "adam"}, {"optimizer": "adamw"}, "optimizer: adam there, adamw here"),
        ({"optimizer": "sgd"}, {"optimizer": "sgd", "momentum": 0.9}, "momentum: 0.0 there, 0.9 here"),
        ({"optimizer": "sgd", "momentum": 0.5}, {"optimizer": "sgd"}, "momentum: 0.5 there, 0.0 here"),
    ],
    ids=str,
)
def test_the_state_of_another_optimizer_is_refused_by_name(there, here, said):
    donor = donor_of(BASE.replace(**there), "params", "average", "opt_state")
    with pytest.raises(JaxcharError, match=said):
        begun(donor, BASE.replace(**here))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "muon", "rmsprop", "adagrad", "sgd"])
def test_other_numbers_of_the_same_optimizer_are_no_hindrance(optimizer):
    """Another rate, schedule, momentum, clipping or batch size is what a new run is begun for."""
    config = BASE.replace(optimizer=optimizer, momentum=0.5, clip_value=5.0)
    donor = donor_of(config, "params", "average", "opt_state")
    other = config.replace(
        learning_rate=0.1, schedule="cosine", momentum=0.9, clip_norm=1.0, clip_value=0.0, batch_size=3
    )
    after = begun(donor, other)
    assert jax.tree.structure(after) == jax.tree.structure(first_state(other, GROWN))


PLAIN = TINY.replace(max_chars=2_000, hidden_size=8, epochs=2)


@pytest.mark.parametrize("optimizer", ["adamw", pytest.param("muon", marks=pytest.mark.slow)])
def test_with_its_optimizer_a_run_goes_on_in_the_same_bits_as_the_one_it_came_from(optimizer, tmp_path):
    """With constant rates and no dropout, an epoch depends on weights and optimizer state alone."""
    config = PLAIN.replace(optimizer=optimizer, keep_checkpoints=0)
    jaxchar.fit(config, tmp_path / "whole", display=quiet())
    whole = load_checkpoint(tmp_path / "whole", state_structure)
    first = tmp_path / "whole" / "checkpoints" / str(whole.metadata.steps_per_epoch)
    one = config.replace(epochs=1)
    jaxchar.fit(one, tmp_path / "second", init_from=first, keep_optimizer=True, display=quiet())
    jaxchar.fit(one, tmp_path / "other", init_from=first, display=quiet())
    theirs = named_leaves(whole.state.params)
    mine = named_leaves(load_checkpoint(tmp_path / "second", state_structure).state.params)
    others = named_leaves(load_checkpoint(tmp_path / "other", state_structure).state.params)
    for name in theirs:
        np.testing.assert_array_equal(mine[name], theirs[name], err_msg=name)
    assert any((others[name] != theirs[name]).any() for name in theirs)


# ---- whole runs ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory, text) -> Path:
    """A run on some English."""
    folder = tmp_path_factory.mktemp("donor")
    (folder / "english.txt").write_text(text[:3_000])
    run_dir = folder / "run"
    config = PLAIN.replace(corpus=str(folder / "english.txt"), ema_decay=0.9, learning_rate=0.02)
    jaxchar.fit(config, run_dir, display=quiet())
    return run_dir


@pytest.fixture
def other_text(tmp_path, text) -> Path:
    file = tmp_path / "other.txt"
    file.write_text(text[:2_000].replace("e", "ę").replace("a", "ą").replace("T", "\x02"), encoding="utf-8")
    return file


@promises.NEW_CHARACTERS
def test_on_a_text_with_new_characters_a_run_learns_and_is_resumed_in_the_same_bits(
    trained, other_text, tmp_path
):
    donor = jaxchar.load(trained)
    config = donor.config.replace(corpus=str(other_text), max_chars=None)
    options = {
        "init_from": trained,
        "keep_optimizer": True,
        "new_characters": "add",
        "display": quiet(),
    }
    jaxchar.fit(config, tmp_path / "whole", **options)
    jaxchar.fit(config.replace(epochs=1), tmp_path / "halves", **options)
    jaxchar.resume(tmp_path / "halves", config=config, display=quiet())
    whole, halves = (load_checkpoint(tmp_path / name, state_structure) for name in ("whole", "halves"))
    assert whole.metadata.vocabulary == Vocabulary(donor.vocabulary.symbols + "ęą\x02")
    for mine, theirs in zip(jax.tree.leaves(whole.state), jax.tree.leaves(halves.state), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    begun_with = transfer(
        load_checkpoint(trained, lambda m: {"average": state_structure(m).average}),
        config,
        first_state(config, whole.metadata.vocabulary),
        whole.metadata.vocabulary,
    )
    graphdef = make_program(config, len(whole.metadata.vocabulary), 500).graphdef
    before = jaxchar.LanguageModel(config, whole.metadata.vocabulary, graphdef, begun_with.params)
    after, content = jaxchar.load(tmp_path / "whole"), other_text.read_text(encoding="utf-8")
    assert after.score(content).loss < before.score(content).loss - 0.5
    old = "the statement is"
    assert 0 < before.score(old).loss - donor.score(old).loss < NEW_PROBABILITY
    assert len(after.generate("ę", 50, seed=1)) == 50


@promises.NOTHING_MIXED_UP
def test_new_characters_are_refused_unless_they_are_to_be_added(trained, other_text, tmp_path):
    config = jaxchar.load(trained).config.replace(corpus=str(other_text))
    with pytest.raises(JaxcharError, match=r"'\\x02'.*'ą'.*'ę' \(U\+0119\).*new_characters='add'") as said:
        jaxchar.fit(config, tmp_path / "run", init_from=trained, display=quiet())
    assert "\n" not in str(said.value)
    assert not (tmp_path / "run").exists()


def test_capitals_for_a_model_that_lower_cases_are_refused_with_that_hint(tmp_path):
    (tmp_path / "t").write_text("a cat sat on a mat. " * 50)
    config = PLAIN.replace(corpus=str(tmp_path / "t"), lowercase=True, max_steps=1)
    jaxchar.fit(config, tmp_path / "run", display=quiet())
    (tmp_path / "t").write_text("A cat sat on a mat. " * 50)
    with pytest.raises(JaxcharError, match=r"'A' .*reduced by lowercase True"):
        jaxchar.fit(config.replace(lowercase=False), init_from=tmp_path / "run", display=quiet())


@pytest.mark.parametrize("options", [{"keep_optimizer": True}, {"new_characters": "add"}])
def test_what_goes_with_another_run_needs_one(options, tmp_path):
    with pytest.raises(JaxcharError, match="keep_optimizer and new_characters need init_from="):
        jaxchar.fit(PLAIN, tmp_path / "run", display=quiet(), **options)
    assert not (tmp_path / "run").exists()


# ---- the command line ----------------------------------------------------------------------------


def settings_of(run_dir: Path) -> Config:
    return Config.from_json(json.loads((run_dir / "config.json").read_text()))


def test_a_run_begun_with_another_one_has_its_settings_but_those_typed(trained, tmp_path, capsys):
    line = f"--init-from {trained} --keep-optimizer --learning-rate 0.001 --batch-size 2 --max-steps 3"
    train.main(arguments=[*line.split(), "--run-dir", str(tmp_path / "run")])
    expected = settings_of(trained).replace(learning_rate=0.001, batch_size=2, max_steps=3)
    assert settings_of(tmp_path / "run") == expected


def test_another_text_is_used_whole(trained, other_text, tmp_path, capsys):
    """How many characters were used of the other run's text says nothing of this one."""
    line = f"--init-from {trained} --new-characters add --corpus {other_text} --max-steps 3"
    train.main(arguments=[*line.split(), "--run-dir", str(tmp_path / "run")])
    assert settings_of(trained).max_chars == 2_000
    assert settings_of(tmp_path / "run").max_chars is None
    assert "Characters added to the model: 3: '\\x02' (U+0002), 'ą' (U+0105), 'ę'" in capsys.readouterr().out


def test_an_experiment_keeps_its_settings_but_those_that_the_weights_need(trained):
    default = Config(batch_size=7, hidden_size=99, optimizer="sgd")
    config = train.parse_arguments(default, ["--init-from", str(trained)]).config
    assert (config.batch_size, config.hidden_size, config.optimizer) == (7, 8, "sgd")
    config = train.parse_arguments(default, ["--init-from", str(trained), "--keep-optimizer"]).config
    assert (config.batch_size, config.optimizer, config.learning_rate) == (7, "adamw", 0.02)
