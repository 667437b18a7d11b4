"""The benchmark: its arithmetic, its judgement, and baselines that misbehave. No time is asserted."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxchar import bench
from jaxchar.benchmark import baselines, cells, data, events, race, same_work, show
from jaxchar.benchmark.baselines import LeftOut, ours
from jaxchar.benchmark.cells import Cell
from jaxchar.benchmark.worker import Server
from jaxchar.benchmark.workers import Absent, Worker, workers
from jaxchar.model.char_rnn import CharRNN, num_parameters
from jaxchar.training.step import training_batches

ALL = cells.CELLS + cells.ACCELERATOR_CELLS
WORDS_GENERATOR = cells.CELLS[0]
TINY = Cell("tiny", 5, 8, 2, 16, vocab_size=7, clip_norm=1.0)


# ---- how much work -------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ALL, ids=lambda cell: cell.name)
def test_a_cell_counts_the_parameters_of_the_model(cell):
    config = ours.config_of(cell, "float32")
    model = nnx.eval_shape(lambda: CharRNN(config, cell.vocab_size, rngs=nnx.Rngs(0)))
    assert cell.num_parameters == num_parameters(model)
    assert cell.num_parameters == sum(array.size for array in data.made_up_weights(cell).values())


def test_words_generator_has_the_parameters_of_the_original():
    assert WORDS_GENERATOR.num_parameters == 89_124


def test_the_operations_of_a_step_are_counted_by_hand():
    cell = Cell("by hand", seq_len=2, hidden_size=3, num_layers=2, batch_size=5, vocab_size=7)
    recurrent = 2 * (2 * 5) * 12 * 3  # multiply and add, for every row and step, [3] x [3, 12]
    head = 2 * (2 * 5) * 3 * 7
    assert cell.step_operations == 3 * (2 * recurrent + recurrent + head)  # the second layer's inputs, too
    last_only = Cell("by hand", 2, 3, 2, 5, 7, many_to_one=True)
    assert last_only.step_operations == 3 * (3 * recurrent + head // 2)
    assert cell.sequential_depth == 8


def test_the_floor_is_the_longer_of_products_and_traffic():
    operations, moved = WORDS_GENERATOR.step_operations, WORDS_GENERATOR.step_bytes()
    assert cells.floor_seconds(WORDS_GENERATOR, peak=operations, bandwidth=10 * moved) == 1
    assert cells.floor_seconds(WORDS_GENERATOR, peak=10 * operations, bandwidth=moved / 2) == 2
    assert WORDS_GENERATOR.step_bytes(2) < moved


# ---- the same batches ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell",
    [pytest.param(cell, id=cell.name, marks=() if cell in cells.CELLS else pytest.mark.slow) for cell in ALL],
)
def test_all_baselines_read_the_batches_that_jaxchar_reads(cell):
    batches = training_batches(ours.config_of(cell, "float32"), cells.TEXT_CHARS)
    assert batches.steps_per_epoch == cell.steps_per_epoch
    places = np.arange(cells.TEXT_CHARS)
    for step in (0, 1, cell.steps_per_epoch):
        batch = batches.batch(places, jax.numpy.int32(step), jax.random.key(0))
        np.testing.assert_array_equal(batch.inputs[:, 0], data.batch_starts(cell, step))
        assert np.all(batch.weights == 1)


# ---- the race ------------------------------------------------------------------------------------


def test_a_ratio_is_the_median_of_the_ratios_of_the_rounds():
    busy = [10.0, 1.0, 10.0, 10.0, 2.0]  # the machine was busy in two rounds, for both
    twice = [20.0, 2.0, 20.0, 25.0, 3.0]
    assert race.ratio(twice, busy) == (2.0, 1.5, 2.5)


def test_turns_go_round_and_who_fails_is_left_behind(monkeypatch):
    monkeypatch.setattr(race, "PAUSE", 0)
    turns = []

    def run(name, units, patience):
        turns.append(name)
        if name == "b" and len(turns) > 5:
            raise Absent("it fell", failed=True)
        return units / {"a": 100, "b": 50, "c": 25}[name]

    rates, gone = race.take_turns({"a": 0.01, "b": 0.02, "c": 0.04}, run, seconds=1)
    assert turns[:11] == ["a", "b", "c"] * 3 + ["a", "c"]
    assert rates == {"a": [100] * race.ROUNDS, "c": [25] * race.ROUNDS}
    assert gone["b"].why == "it fell"


@pytest.mark.parametrize(
    ("unit_seconds", "rounds"), [(3.0, race.FEWEST_ROUNDS), (0.5, race.FEWER_ROUNDS), (0.1, race.ROUNDS)]
)
def test_a_step_that_outlasts_a_turn_is_a_turn_of_its_own(unit_seconds, rounds):
    asked = []

    def run(name, units, patience):
        asked.append(units)
        return unit_seconds

    race.take_turns({"slow": unit_seconds}, run, seconds=1)
    assert asked == [1] * rounds


def test_the_reference_is_the_fastest_baseline_that_finished():
    found = {"jaxchar": {"rates": [9.0]}, "flax": {"rates": [3.0]}, "keras": {"rates": [4.0]}, "torch": {}}
    assert events.reference_of(found) == "keras"
    assert events.reference_of({"jaxchar": {"rates": [9.0]}, "torch": {"failed": "it fell"}}) == "jaxchar"
    assert events.reference_of({"torch": {"left_out": "torch is not installed"}}) is None
    event = events.with_ratios({"contenders": found})
    assert event["contenders"]["jaxchar"]["ratio"]["median"] == 9 / 4


# ---- the same work -------------------------------------------------------------------------------

SOUND = {"num_parameters": 89_124, "redundant_parameters": 0, "loss": 3.5, "gradient_error": 1e-6}
SOUND |= {"loss_after": 3.4, "our_loss_after": 3.4}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"num_parameters": 89_636, "redundant_parameters": 512}, []),
        ({"num_parameters": 89_636}, ["it has 89,636 parameters instead of 89,124"]),
        ({"loss": 3.501}, ["its loss is 3.501000 instead of 3.500000"]),
        ({"loss": float("nan")}, ["its loss is nan instead of 3.500000"]),
        ({"gradient_error": 0.5}, ["its gradient is off by 5.0e-01 of its largest element"]),
        ({"loss_after": 3.5}, ["its loss after the first steps is 3.50000 instead of 3.40000"]),
    ],
)
def test_other_work_is_told_of(change, said):
    assert same_work.differences(WORDS_GENERATOR, "float32", SOUND | change, judge_loss=3.5) == said


def gradient_with(bits, cell):
    """Return the gradient of the first batch where factors of products have so many bits; None: all."""

    def product(a, b):
        return (
            a @ b
            if bits is None
            else jax.lax.reduce_precision(a, 8, bits) @ jax.lax.reduce_precision(b, 8, bits)
        )

    def loss(weights):
        inputs, targets = data.first_batch(cell)
        hidden = state = jnp.zeros((len(inputs), cell.hidden_size))
        for t in range(cell.seq_len):
            rows = jax.nn.one_hot(inputs[:, t], cell.vocab_size)
            z = (
                product(rows, weights["input 1"])
                + product(hidden, weights["recurrent 1"])
                + weights["bias 1"]
            )
            i, f, g, o = jnp.split(z, 4, axis=1)
            state = jax.nn.sigmoid(f) * state + jax.nn.sigmoid(i) * jnp.tanh(g)
            hidden = jax.nn.sigmoid(o) * jnp.tanh(state)
        logits = product(hidden, weights["head"]) + weights["head bias"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()

    return jax.device_get(jax.grad(loss)(data.made_up_weights(cell)))


def test_the_tolerances_tell_float32_from_tf32_from_bfloat16():
    exact = gradient_with(None, WORDS_GENERATOR)
    tf32, bfloat16 = (
        same_work.gradient_error(gradient_with(bits, WORDS_GENERATOR), exact) for bits in (10, 7)
    )
    tolerance = same_work.GRADIENT_TOLERANCE
    assert tolerance["float32"] < tf32 < tolerance["tf32"] < bfloat16 < tolerance["bfloat16"]


def test_all_compute_where_the_plan_says(monkeypatch):
    script = (
        "import json, os; input(); print(json.dumps({name: os.environ.get(name) for name in "
        "('JAXCHAR_BENCHMARK_PLATFORM', 'CUDA_VISIBLE_DEVICES', 'JAX_PLATFORMS')}))"
    )
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    found = {}
    for platform in ("cpu", "gpu"):
        with workers({platform: [sys.executable, "-c", script]}, platform) as started:
            found[platform] = list(started[platform].ask({"do": "start"}).values())
    assert found == {"cpu": ["cpu", "", "cpu"], "gpu": ["gpu", "1", None]}


def test_cudnns_two_biases_move_as_one_does():
    from jaxchar.benchmark.baselines import cudnn_lstm

    flat = jnp.ones(100 + 2 * 4 * TINY.hidden_size * TINY.num_layers)
    halved, _ = cudnn_lstm._half_rate_of_biases(TINY).update({"lstm": flat, "head": flat}, optax.EmptyState())
    assert (halved["lstm"][:100] == 1).all() and (halved["lstm"][100:] == 0.5).all()
    assert (halved["head"] == 1).all()


def test_a_variant_is_named():
    assert show.label("torch", None, ", float16") == "PyTorch, float16"


# ---- baselines that misbehave --------------------------------------------------------------------


def ask(script: str, patience: float = 30.0) -> dict:
    worker = Worker([sys.executable, "-c", script])
    try:
        return worker.ask({"do": "start"}, patience)
    finally:
        worker.close()


def test_a_worker_answers_although_libraries_print():
    script = (
        "import os, sys; from jaxchar.benchmark import worker; worker.import_module = lambda n: print('hi')"
    )
    script += "; sys.argv = ['worker', 'flax']; worker.main()"
    assert ask(script) == {}


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("raise SystemExit('no room')", "it left with code 1: no room"),
        ("import os; os.kill(os.getpid(), 9)", "it was ended by SIGKILL"),
        ("import time; time.sleep(60)", "it did not answer for 1 seconds"),
        ('input(); print(\'{"failed": "ValueError: 3"}\')', "ValueError: 3"),
    ],
)
def test_a_worker_that_fails_says_how(script, why):
    with pytest.raises(Absent) as absent:
        ask(script, patience=1.0 if "sleep" in script else 30.0)
    assert absent.value.why == why
    assert absent.value.failed


def test_what_is_not_installed_is_left_out():
    def load():
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    assert Server(load, {}).answer({"do": "start"}) == {"left_out": "torch is not installed"}


def test_what_a_baseline_raises_is_its_answer():
    class Module:
        def prepare(self, cell, dtype):
            raise LeftOut("no GPU") if dtype == "tf32" else ValueError("two\nlines")

    server = Server(Module, {})
    server.start()
    request = {"do": "build", "cell": TINY.to_json(), "weights": "", "gradient": ""}
    assert server.answer(request | {"dtype": "tf32"}) == {"left_out": "no GPU"}
    assert server.answer(request | {"dtype": "float32"}) == {"failed": "ValueError: two lines"}
    assert server.answer({"do": "write", "cell": TINY.to_json(), "dtype": "float32"}).keys() == {"left_out"}


# ---- the whole -----------------------------------------------------------------------------------


@pytest.fixture(params=[(), pytest.param(("flax",), marks=pytest.mark.slow)], ids=["alone", "with flax"])
def peers(request, monkeypatch):
    """Others that take part in a race over a tiny cell, each in a process that takes seconds to begin."""
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    capacity = {"peak": {"float32": 1e11}, "bandwidth": 1e10}
    monkeypatch.setattr(events, "measure_machine", lambda *_: capacity)
    monkeypatch.setattr(cells, "CELLS", (TINY,))
    monkeypatch.setattr(baselines, "baselines_named", lambda *_: ("jaxchar", *request.param, "cudnn"))
    return request.param


@pytest.mark.slow
def test_a_race_from_the_command(peers, tmp_path, capsys):
    out, plot = tmp_path / "out.json", tmp_path / "out.png"
    files = ["--out", str(out), "--plot", str(plot)]
    bench.main(["--cells", "tiny", "--seconds", "0.2", "--no-sampling", *files])
    result = json.loads(out.read_text())
    (event,) = result["training"]
    for found in (event["contenders"][name] for name in ("jaxchar", *peers)):
        assert found["loss"] == pytest.approx(event["judge"]["loss"], rel=1e-5)
        assert found["loss_after"] < found["loss"]
        assert found["gradient_error"] < 1e-4
        assert len(found["rates"]) == race.ROUNDS
        assert found["host_bytes"] > 1e6
    reference = peers[0] if peers else "jaxchar"
    assert event["reference"] == reference
    assert event["contenders"]["cudnn"] == {"left_out": "cuDNN needs an NVIDIA GPU"}
    said = capsys.readouterr().out
    assert ("Flax nnx.RNN (= 1)" if peers else "jaxchar (= 1)") in said and "JAX with cuDNN: left out" in said
    assert max(map(len, said.splitlines()[3:])) <= max(show.WIDTH, len(str(out)) + 30)
    assert plot.stat().st_size > 1000


def test_a_benchmark_that_is_stopped_leaves_what_it_has_measured(tmp_path, monkeypatch):
    def measured(cell, *_):
        if cell is WORDS_GENERATOR:
            raise KeyboardInterrupt
        return {"cell": cell.to_json()}

    monkeypatch.setattr(events, "describe_machine", lambda: {"platform": "cpu", "cores": 2})
    monkeypatch.setattr(events, "measure_machine", lambda *_: {"peak": {"float32": 1e11}, "bandwidth": 1e10})
    monkeypatch.setattr(events, "training", measured)
    monkeypatch.setattr(show, "machine", lambda _: None)
    monkeypatch.setattr(cells, "cells_named", lambda *_: (TINY, WORDS_GENERATOR))
    out = tmp_path / "out.json"
    with pytest.raises(SystemExit, match="130"):
        bench.main(["--out", str(out), "--no-sampling"])
    found = json.loads(out.read_text())
    assert found["training"] == [{"cell": TINY.to_json()}]
    assert found["machine"]["cores"] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cells", "words"], "cells must be of words_generator, "),
        (["--peers", "theano"], "peers must be of flax, keras, torch"),
        (["--seconds", "0"], "seconds must be a number of at least 0.1"),
        (["--devices", "0"], "devices must be a whole number of 1 or more"),
        (["--out", "no/such/folder.json"], "out must be a file in a folder that exists"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, words, capsys):
    with pytest.raises(SystemExit) as leaving:
        bench.main(arguments)
    assert leaving.value.code == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_help_waits_for_no_library():
    script = "import sys, jaxchar.bench; sys.exit('jax' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
