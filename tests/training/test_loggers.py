"""Loggers: what they send, once, and that a logger that is missing or fails harms no run."""

import json
import struct
import sys

import pytest
from command_runs import CONFIG, EPOCH, main
from runs import quiet

import jaxchar
from jaxchar.errors import JaxcharError
from jaxchar.training import loggers
from jaxchar.training.callbacks import Snapshot
from jaxchar.training.loggers import Logger, TensorBoard, WandB, logger_named

pytestmark = pytest.mark.usefixtures("unmeasured")


class Kept(Logger):
    """Keeps what it is to send, and fails at a step if it is to."""

    def __init__(self, fails_at=None):
        super().__init__()
        self.sent, self.closed, self.fails_at = [], 0, fails_at

    def _open(self, snapshot):
        self.opened_at = snapshot.step

    def _send(self, name, step, value):
        if step == self.fails_at:
            raise ConnectionError("nobody\nthere")
        self.sent.append((name, step, value))

    def _close(self):
        self.closed += 1


def logged(run_dir, after=0):
    metrics = jaxchar.read_metrics(run_dir)
    points = ((name, s, v) for name, of in metrics.items() for s, v in zip(*of, strict=True))
    return sorted((name, int(step), float(value)) for name, step, value in points if step > after)


def test_every_figure_is_sent_once_also_of_a_resumed_run(tmp_path):
    first, second = Kept(), Kept()
    jaxchar.fit(CONFIG.replace(epochs=1), tmp_path / "run", callbacks=[first], display=quiet())
    assert sorted(first.sent) == logged(tmp_path / "run")
    jaxchar.resume(tmp_path / "run", config=CONFIG, callbacks=[second], display=quiet())
    assert sorted(second.sent) == logged(tmp_path / "run", after=EPOCH) != []
    assert (first.opened_at, second.opened_at, first.closed, second.closed) == (0, EPOCH, 1, 1)


def test_a_logger_that_fails_is_told_once_and_the_run_goes_on(tmp_path):
    broken = Kept(fails_at=10)
    with pytest.warns(UserWarning, match="Kept has failed: nobody; the run goes on") as warned:
        result = jaxchar.fit(CONFIG, tmp_path / "run", callbacks=[broken], display=quiet())
    assert (len(warned), result.summary["steps"], broken.closed) == (1, 2 * EPOCH, 0)


@pytest.mark.parametrize(("name", "package"), [("tensorboard", "tensorboardX"), ("wandb", "wandb")])
def test_a_missing_package_is_one_line_with_the_command_that_installs_it(
    name, package, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, package, None)
    assert main(f"--logger={name}", f"--run-dir={tmp_path / 'run'}") == 2
    error = capsys.readouterr().err
    assert f"pip install {package}" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_another_name_is_refused():
    with pytest.raises(JaxcharError, match="must be 'tensorboard' or 'wandb'"):
        logger_named("mlflow")


def test_tensorboard_reads_back_what_a_run_has_logged(tmp_path):
    pytest.importorskip("tensorboardX")
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    jaxchar.fit(CONFIG, tmp_path / "run", callbacks=[TensorBoard()], display=quiet())
    found = reading.EventAccumulator(str(tmp_path / "run" / loggers.FOLDER)).Reload()
    for name, (steps, values) in jaxchar.read_metrics(tmp_path / "run").items():
        events = found.Scalars(name)
        assert [event.step for event in events] == steps.tolist()
        assert [event.value for event in events] == pytest.approx(values.tolist(), rel=1e-6)


class Spy:
    """Stands in for the package wandb, and for a run of it."""

    def __init__(self):
        self.calls = []

    def init(self, **options):
        self.calls.append(("init", options))
        return self

    def __getattr__(self, name):
        return lambda *given, **named: self.calls.append((name, given, named))


def test_wandb_is_given_the_settings_and_every_figure_at_its_step(tmp_path, monkeypatch):
    spy = Spy()
    monkeypatch.setitem(sys.modules, "wandb", spy)
    logger = WandB(project="mine")
    (tmp_path / "metrics.jsonl").write_text('{"step": 3, "val_loss": 2.5}\n')
    snapshot = Snapshot(0, {}, CONFIG, tmp_path, lambda: None)
    logger.on_train_begin(snapshot)
    logger.on_evaluation(snapshot)
    logger.on_train_end(snapshot)
    (_, options), *others = spy.calls
    assert (options["project"], options["name"]) == ("mine", tmp_path.name)
    assert options["config"] == CONFIG.to_json()
    assert ("log", ({"val_loss": 2.5, "step": 3},), {}) in others
    assert others[-1][0] == "finish"


def test_wandb_goes_on_with_the_run_that_was_begun_and_begins_another_with_a_new_one(tmp_path, monkeypatch):
    def id_at(step):
        spy = Spy()
        monkeypatch.setitem(sys.modules, "wandb", spy)
        WandB().on_train_begin(Snapshot(step, {}, CONFIG, tmp_path, lambda: None))
        (_, options), *_ = spy.calls
        return options["id"], options["resume"]

    begun = id_at(0)
    assert id_at(7) == begun == (begun[0], "allow")
    assert id_at(0) != begun


def test_wandb_is_given_settings_that_change_on_the_way(tmp_path, monkeypatch):
    spy = Spy()
    monkeypatch.setitem(sys.modules, "wandb", spy)
    spy.config = Spy()
    logger = WandB()
    corrected = CONFIG.replace(max_steps=12)
    logger.on_train_begin(Snapshot(0, {}, CONFIG, tmp_path, lambda: None))
    for config in (CONFIG, corrected, corrected):
        logger.on_evaluation(Snapshot(1, {}, config, tmp_path, lambda: None))
    assert spy.config.calls == [("update", (corrected.to_json(),), {"allow_val_change": True})]


def records_in(data, block=32768, header=7):
    """Return the records of a file of wandb: LevelDB's log format, behind a header of seven bytes."""
    at, parts = header, []
    while at + header <= len(data):
        left = block - at % block
        if left < header:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        parts.append(data[at + header : at + header + length])
        at += header + length
        if kind in (1, 4):  # whole, or the last part of one
            yield b"".join(parts)
            parts = []


def test_the_package_wandb_keeps_every_figure_of_a_resumed_run_in_one_run(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    record = pytest.importorskip("wandb.proto.wandb_internal_pb2").Record
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run_dir = tmp_path / "run"
    jaxchar.fit(CONFIG.replace(epochs=1), run_dir, callbacks=[WandB()], display=quiet())
    jaxchar.resume(run_dir, config=CONFIG, callbacks=[WandB()], display=quiet())
    wandb.teardown()

    ids, seen = set(), {}
    for file in run_dir.glob("wandb/offline-run-*/*.wandb"):
        for data in records_in(file.read_bytes()):
            found = record.FromString(data)
            ids |= {found.run.run_id} - {""}
            items = found.history.item
            row = {(item.nested_key or [item.key])[0]: json.loads(item.value_json) for item in items}
            for name in set(row) - {"step", "_step", "_runtime", "_timestamp"}:
                seen.setdefault(name, {})[row["step"]] = row[name]
    assert ids == {(run_dir / loggers.WANDB_ID).read_text().strip()}
    for name, (steps, values) in jaxchar.read_metrics(run_dir).items():
        assert seen[name] == pytest.approx(dict(zip(steps.tolist(), values.tolist(), strict=True)))
