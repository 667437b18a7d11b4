"""Nothing is mixed up in silence: what changes the arithmetic is refused by name, the rest is told."""

import dataclasses
import json
import shutil
from pathlib import Path

import promises
import pytest
from rich.console import Console
from runs import TINY, quiet, rewrite_metadata

import jaxchar
from jaxchar.checkpoint.find import load_checkpoint
from jaxchar.checkpoint.layout import FOLDER
from jaxchar.config import Config
from jaxchar.errors import JaxcharError
from jaxchar.progress.display import TrainingDisplay
from jaxchar.training.resume import CHANGEABLE
from jaxchar.training.step import state_structure
from jaxchar.training.summary import RunResult

pytestmark = promises.NOTHING_MIXED_UP

BASE = TINY.replace(batching="windows", batch_size=16, seq_len=8, eval_stride=8)
# Another value for every setting that may not change in a resumed run.
OTHER = {
    "encoding": "cp1252",
    "lowercase": True,
    "keep": "abc",
    "fill": "_",
    "max_chars": 900,
    "separator": "\n",
    "val_fraction": 0.2,
    "test_fraction": 0.1,
    "batching": "streams",
    "batch_size": 8,
    "seq_len": 9,
    "stride": 2,
    "shuffle": True,
    "max_windows": 50,
    "lane_offsets": True,
    "stateful": True,
    "return_sequences": False,
    "cell": "gru",
    "hidden_size": 7,
    "num_layers": 2,
    "embedding_size": 3,
    "tie_embeddings": True,
    "gate": "hard_sigmoid",
    "recurrent_bias": True,
    "forget_bias": 0.0,
    "kernel_init": "normal",
    "recurrent_init": "orthogonal",
    "init_scale": 0.1,
    "dropout": 0.1,
    "input_dropout": 0.1,
    "recurrent_dropout": 0.1,
    "weight_dropout": 0.1,
    "dtype": "bfloat16",
    "precision": "tf32",
    "implementation": "scan",
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "muon_learning_rate": 0.1,
    "beta1": 0.8,
    "beta2": 0.9,
    "epsilon": 1e-3,
    "rms_decay": 0.8,
    "momentum": 0.5,
    "weight_decay": 0.1,
    "clip_value": 1.0,
    "clip_norm": 1.0,
    "loss_reduction": "sum",
    "skip_nonfinite": True,
    "schedule": "cosine",
    "warmup_steps": 5,
    "hold_until": 5,
    "decay_rate": 0.5,
    "decay_after": 1,
    "decay_every": 2,
    "ema_decay": 0.9,
    "seed": 1,
}
NEEDED = {
    "lane_offsets": {"batching": "streams"},
    "tie_embeddings": {"embedding_size": 3},
    "recurrent_bias": {"cell": "gru"},
}  # what goes along with such a value


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "trained"
    jaxchar.fit(BASE, run_dir, display=quiet())
    return run_dir


@pytest.fixture(scope="module")
def loaded(trained):
    return load_checkpoint(trained, state_structure)


def test_every_setting_is_either_changeable_or_tried_here():
    assert {field.name for field in dataclasses.fields(Config)} == CHANGEABLE | OTHER.keys()


@pytest.mark.parametrize("name", OTHER)
def test_a_setting_that_enters_the_arithmetic_is_refused_with_old_and_new(name, trained, loaded, monkeypatch):
    monkeypatch.setattr("jaxchar.training.resume.load_checkpoint", lambda *_: loaded)
    before = (trained / "config.json").read_bytes()
    old, new = json.dumps(getattr(BASE, name)), json.dumps(OTHER[name])
    with pytest.raises(JaxcharError) as refused:
        jaxchar.resume(trained, config=BASE.replace(**{name: OTHER[name]}, **NEEDED.get(name, {}), epochs=2))
    assert f"{name}: {old} -> {new}" in str(refused.value)
    assert (trained / "config.json").read_bytes() == before


def rewrite(checkpoint: Path, part: str, name: str, value: object) -> object:
    """Change one entry of a checkpoint's metadata as if it had been saved so; return what it was."""
    before = []

    def change(record):
        before.append(record[part][name])
        record[part][name] = value

    rewrite_metadata(checkpoint, change)
    return before[0]


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("machine", "platform", "tpu"),
        ("machine", "device_kind", "TPU v9"),
        ("machine", "device_count", 8),
        ("machine", "processor", "riscv64"),
        ("machine", "cores", 999),
        ("machine", "recurrence", "abacus"),
        *[("versions", name, "0.0.1") for name in ("jaxchar", "python", "jax", "jaxlib", "flax", "optax")],
        ("versions", "orbax-checkpoint", "0.0.1"),
        ("versions", "numpy", "0.0.1"),
    ],
)
def test_another_machine_or_version_is_told(part, name, value, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("jaxchar.training.trainer.Trainer.run", lambda trainer: RunResult(run_dir, {}, None))
    run_dir = Path(shutil.copytree(trained, tmp_path / "run"))
    (checkpoint,) = (run_dir / FOLDER).iterdir()
    now = rewrite(checkpoint, part, name, value)
    display = TrainingDisplay(Console(width=1_000, highlight=False))
    jaxchar.resume(run_dir, config=BASE.replace(epochs=2), display=display)
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert len(warnings) == 1
    assert f"{name} {value} -> {now}" in warnings[0]
    assert "may round differently" in warnings[0]


@pytest.mark.parametrize("name", ["sha256", "characters"])
def test_another_text_is_refused_with_old_and_new(name, trained, tmp_path):
    run_dir = Path(shutil.copytree(trained, tmp_path / "run"))
    (checkpoint,) = (run_dir / FOLDER).iterdir()
    value = {"sha256": "f" * 64, "characters": 999}[name]
    now = rewrite(checkpoint, "corpus", name, value)
    with pytest.raises(JaxcharError, match=f"(?s)the corpus is not.*{value}.* then, .*{now}.* now"):
        jaxchar.resume(run_dir, config=BASE.replace(epochs=2))
