"""The experiments: each runs by name, with the numbers of the system that it is."""

import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from flax import nnx
from runs import quiet

import jaxchar
from docs import generated
from jaxchar.model.char_rnn import num_parameters
from jaxchar.model.split import split_model
from jaxchar.terminal.invocation import module_of
from jaxchar.training.step import make_program

ROOT = Path(__file__).parent.parent
NAMES = sorted(path.stem for path in (ROOT / "experiments").glob("*.py"))
OFTEN = {"shakespeare", "min_gru"}  # a cell of jaxchar's, and one of its own


def config_of(name: str) -> jaxchar.Config:
    return import_module(f"experiments.{name}").CONFIG


def parameters_of(name: str, symbols: int) -> int:
    return num_parameters(nnx.merge(*split_model(config_of(name), symbols)))


def test_all_five_systems_the_variant_and_the_cell_of_ones_own_are_there():
    assert NAMES == [
        "char_rnn",
        "min_char_rnn",
        "min_gru",
        "nietzsche",
        "nietzsche_stacked",
        "shakespeare",
        "words_generator",
    ]


def test_the_stacked_variant_is_the_example_with_more_layers_and_dropout():
    """Its file repeats the settings, so that it runs by itself; they must not drift apart."""
    expected = config_of("nietzsche").replace(hidden_size=(200, 512), dropout=0.2)
    assert config_of("nietzsche_stacked") == expected


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow) for name in NAMES]
)
def test_an_experiment_trains_a_few_steps_evaluates_samples_and_saves(name, tmp_path):
    config = config_of(name).replace(
        corpus="python",
        max_chars=20_000,
        val_fraction=0.1,
        max_windows=None,
        batch_size=min(config_of(name).batch_size, 8),
        hidden_size=tuple(16 for _ in config_of(name).layer_sizes),
        num_layers=1,
        epochs=1,
        max_steps=3,
        sample_length=12,
        eval_stride=64,
    )
    result = jaxchar.fit(config, tmp_path / "run", display=quiet())
    assert result.summary["steps"] == 3
    assert np.isfinite(result.summary["val_loss"])
    samples = (tmp_path / "run" / "samples.txt").read_text()
    assert samples.count("--- sample at step 3") == len(config.sample_temperatures)
    assert len(jaxchar.load(tmp_path / "run").generate("a", 5)) == 5


def test_words_generator_has_the_originals_numbers():
    config = config_of("words_generator")
    assert parameters_of("words_generator", 36) == 89_124
    assert make_program(config, 36, 200_771).batches.steps_per_epoch == 6_250
    assert len(set(config.keep)) == 36


def test_nietzsche_has_the_originals_numbers():
    assert make_program(config_of("nietzsche"), 57, 600_893).batches.count == 200_285
    assert config_of("nietzsche").sample_temperatures == (0.2, 0.5, 1.0, 1.2)


def test_min_char_rnn_starts_with_the_smoothed_loss_of_a_model_that_knows_nothing():
    config = config_of("min_char_rnn")
    smoothed = make_program(config, 65, 1_003_855).initial_state().smoothed_loss
    np.testing.assert_allclose(config.seq_len * smoothed, 25 * np.log(65), rtol=1e-6)


def test_every_command_of_the_readmes_exists():
    """What stands in a README can be typed: its modules, make targets, experiments and options."""
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    helps = {command: import_module(f"jaxchar.{module_of(command)}") for command in generated.COMMANDS}
    found = 0
    for readme in (ROOT / "README.md", ROOT / "experiments" / "README.md"):
        for block in re.findall(r"```(?:sh|console)\n(.*?)```", readme.read_text(), flags=re.DOTALL):
            for line in block.splitlines():
                line = line.removeprefix("$ ")
                if target := re.match(r"make ([a-z-]+)", line):
                    assert target[1] in targets, line
                if module := re.match(r"(?:python -m jaxchar\.|jaxchar )([a-z_]+)", line):
                    assert module[1] in helps, line
                if experiment := re.search(r"EXPERIMENT=([a-z_]+)", line):
                    assert experiment[1] in NAMES, line
                for script in re.findall(r"experiments/[a-z_/]+\.py", line):
                    assert (ROOT / script).is_file(), line
                found += 1
    assert found > 15
