"""Several runs of one setting that differ in their seeds: their folders, and what came of all of them."""

import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxchar.ambient import pinned
from jaxchar.cache import compiled_programs_kept
from jaxchar.checkpoint.layout import FOLDER, steps_in
from jaxchar.config import Config
from jaxchar.errors import JaxcharError, quoted, quoted_path, reason_of
from jaxchar.files import written_whole
from jaxchar.parallel.processes import is_first
from jaxchar.progress.display import TrainingDisplay
from jaxchar.progress.guard import GuardedDisplay
from jaxchar.training.launch import OR_ELSE, fit_config, plan_text
from jaxchar.training.planner import Planner, part_of_time
from jaxchar.training.run_folder import RunFolder, name_for
from jaxchar.training.setup import guarded, new_run_folder
from jaxchar.training.summary import RunResult

SEEDS = "seeds.json"  # in the folder of the runs
MOST_SEEDS = 1_000


class SeedsResult(NamedTuple):
    """What several runs of one setting came to."""

    folder: Path
    runs: dict[int, RunResult]  # by seed, those that were trained to their end
    stopped_by: int | None  # the signal that ended them early, if one did

    @property
    def best_val_losses(self) -> dict[int, float]:
        """The best validation loss of every run that was validated, in nats per character, by seed."""
        losses = {seed: run.summary["best_val_loss"] for seed, run in self.runs.items()}
        return {seed: loss for seed, loss in losses.items() if loss is not None}

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; median, least and greatest loss are None where nothing was validated."""
        losses = list(self.best_val_losses.values())
        return {
            "runs": [
                {
                    "seed": seed,
                    "run": str(run.run_dir),
                    **{name: run.summary[name] for name in ("steps", "best_step", "best_val_loss")},
                }
                for seed, run in self.runs.items()
            ],
            "best_val_loss": {
                "median": statistics.median(losses) if losses else None,
                "min": min(losses, default=None),
                "max": max(losses, default=None),
            },
        }

    def in_words(self) -> str:
        """Return the median, the least and the greatest loss in a line."""
        found = self.to_json()["best_val_loss"]
        if found["median"] is None:
            return f"{len(self.runs)} runs in {self.folder}; nothing was validated."
        return (
            f"{len(self.runs)} runs in {self.folder}: best validation loss {found['median']:.4f} (median), "
            f"from {found['min']:.4f} to {found['max']:.4f}."
        )


_NEW: dict[str, Any] = {"init_from": None, "keep_optimizer": False, "new_characters": "error"}


@compiled_programs_kept()
@pinned()
def fit_seeds(
    config: Config | Mapping[str, Any],
    folder: str | Path | None = None,
    *,
    seeds: int,
    minutes: float | None = None,
    started: float | None = None,
    resume: Callable[..., RunResult] | None = None,
    name: str | None = None,
    display: TrainingDisplay | GuardedDisplay | None = None,
    **new: Any,
) -> SeedsResult:
    """Train several runs of one setting with seeds that follow each other, one after the other.

    Each is a run like any other, in ``folder/seed-0``, ``folder/seed-1``, ...; ``folder/seeds.json`` has the
    median, the least and the greatest of their best validation losses.

    Args:
        config: all settings; or some by name, the text as ``corpus`` among them: the others are chosen once,
            for all runs. Its ``seed`` is the first one.
        folder: of the runs; None makes a new one in ``runs/``.
        seeds: how many runs.
        minutes: that all runs may take together, where settings are chosen.
        started: when the time began, by ``time.monotonic()``; None: now.
        resume: :func:`jaxchar.resume`, to go on with the runs that the folder holds already; None refuses it.
        name: what a new folder in ``runs/`` is called; None: as the corpus is.
        display: where progress is shown; None takes standard output.
        new: ``init_from``, ``keep_optimizer``, ``new_characters`` and ``callbacks`` of :func:`fit`.

    Raises:
        JaxcharError: something given cannot be used.
    """
    started, shown = time.monotonic() if started is None else started, guarded(display)
    given = {} if isinstance(config, Config) else dict(config)
    asked = config if isinstance(config, Config) else Planner(given, minutes, started).asked()
    check_seeds(seeds, asked)
    everything = vars(config) if isinstance(config, Config) else given
    known = None if folder is None else read_plan(Path(folder).expanduser(), everything)
    if known is None and folder is not None:
        RunFolder(folder).check_free(OR_ELSE)
    if known is not None and resume is None:
        raise JaxcharError(f"{str(folder)!r} already holds runs; give another folder")
    if known is None and not isinstance(config, Config):
        known = plan_text(given, None if minutes is None else minutes / seeds, started, shown).config
    settings = asked if known is None else known.replace(corpus=asked.corpus)
    path = new_run_folder(name or name_for(settings.sources)) if folder is None else Path(folder).expanduser()
    if is_first():
        write_seeds(path, settings)

    def run(number: int, config: Config, run_dir: Path) -> RunResult:
        shown.notice(f"Run {number + 1} of {seeds}, seed {config.seed}: {run_dir}")
        if resume is not None and steps_in(run_dir / FOLDER):
            return resume(
                run_dir, corpus=settings.corpus, callbacks=new.get("callbacks"), display=shown
            )  # refuses another text
        deadline = None if minutes is None else part_of_time(started, minutes, (number + 1) / seeds)
        return fit_config(config, None, run_dir, name=None, display=shown, deadline=deadline, **_NEW | new)

    return run_all(path, settings, seeds, run, writes=is_first())


def check_seeds(seeds: Any, config: Config) -> None:
    """Raise a JaxcharError where there cannot be so many runs of a configuration."""
    if not isinstance(seeds, int) or isinstance(seeds, bool) or not 1 <= seeds <= MOST_SEEDS:
        raise JaxcharError(
            f"--seeds must be a whole number from 1 to {MOST_SEEDS:,}, but it is {quoted(seeds)}"
        )
    config.replace(seed=config.seed + seeds - 1)  # refuses a seed that is too large
    if "-" in config.sources:
        raise JaxcharError(
            "--seeds reads the text anew for every run, but standard input can be read only once; write it "
            "to a file, and give that"
        )


def read_plan(folder: Path, given: Mapping[str, Any]) -> Config | None:
    """Return the settings of the runs that a folder holds; None if it holds none.

    Args:
        folder: of the runs.
        given: settings that are asked for now, by name.

    Raises:
        JaxcharError: they cannot be read, or differ from what is asked for.
    """
    file = folder / SEEDS
    if not file.exists():
        return None
    try:
        config = Config.from_json(json.loads(file.read_text(encoding="utf-8"))["config"])
    except (AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError) as error:
        raise JaxcharError(
            f"{quoted_path(file)} cannot be read: {reason_of(error)}; give another --run-dir"
        ) from error
    changes = config.describe_changes(config.replace(**given), ignoring={"corpus"})  # a text may have moved
    if changes:
        raise JaxcharError(
            f"the runs in {str(folder)!r} have other settings: {'; '.join(changes)}; leave them as they "
            "were, or give another --run-dir"
        )
    return config


def write_seeds(folder: Path, config: Config, found: SeedsResult | None = None) -> None:
    """Write the settings of the runs, and what they came to so far.

    Raises:
        JaxcharError: it cannot be written.
    """
    record = {"config": config.to_json(), **({} if found is None else found.to_json())}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with written_whole(folder / SEEDS) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    except (OSError, ValueError) as error:
        raise JaxcharError(f"cannot write to --run-dir {str(folder)!r}: {reason_of(error)}") from error


def run_all(
    folder: Path, config: Config, seeds: int, run: Callable[[int, Config, Path], RunResult], *, writes: bool
) -> SeedsResult:
    """Train one run after the other, until all are done or a signal asks to stop.

    Args:
        folder: of the runs, each of which has one of its own in it.
        config: their settings, with the first seed.
        seeds: how many runs.
        run: trains the run of a number, from 0, with its settings in its folder, or goes on with it.
        writes: whether this process writes what came of them.
    """
    found = SeedsResult(folder, {}, None)
    for number in range(seeds):
        seed = config.seed + number
        result = run(number, config.replace(seed=seed), folder / f"seed-{seed}")
        if result.stopped_by is not None:
            return found._replace(stopped_by=result.stopped_by)
        found.runs[seed] = result
        if writes:
            write_seeds(folder, config, found)
    return found
