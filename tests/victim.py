"""A training that is killed at an exact moment: ``python victim.py RUN_DIR JOURNAL MOMENT [SETTINGS]``.

MOMENT is ``never``; ``save N EVENT``: within the Nth save, when Python comes to the EVENTth call or
return in it; or ``train N``: before the Nth call of the training loop. The run is begun, or resumed where
it has a checkpoint. The journal gets a line for each thing that the tests must know:

    start STEP       where this process began
    saved STEP       a save that had ended
    events NUMBER    how many calls and returns a save has
    killed PHASE     just before the kill
"""

import json
import os
import signal
import sys
from pathlib import Path

import jax

jax.config.update("jax_platforms", "cpu")

from runs import quiet  # noqa: E402

import jaxchar  # noqa: E402
from jaxchar.checkpoint.layout import FOLDER, steps_in  # noqa: E402
from jaxchar.checkpoint.store import CheckpointStore  # noqa: E402
from jaxchar.training.pace import Pace  # noqa: E402
from jaxchar.training.trainer import Trainer  # noqa: E402


class Journal:
    """Lines that outlive the process."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def write(self, *words: object) -> None:
        with self.path.open("a") as file:
            print(*words, file=file)


def kill(journal: Journal, phase: str) -> None:
    journal.write("killed", phase)
    os.kill(os.getpid(), signal.SIGKILL)


def kill_in_save(journal: Journal, number: int, event: int) -> None:
    """Count calls and returns in every save; kill at one of them."""
    save, saves = CheckpointStore._save, 0

    def counted(store, leaves, metadata):
        nonlocal saves
        saves += 1
        seen = 0

        def count(*_):
            nonlocal seen
            seen += 1
            if (saves, seen) == (number, event):
                kill(journal, "save")

        sys.setprofile(count)
        save(store, leaves, metadata)
        sys.setprofile(None)
        journal.write("events", seen)
        if store.last_error is None:
            journal.write("saved", store.newest_step)

    CheckpointStore._save = counted


def kill_in_training(journal: Journal, number: int) -> None:
    """Kill before a call of the training loop."""
    train_chunk, chunks = Trainer._train_chunk, 0

    def counted(trainer, *arguments):
        nonlocal chunks
        chunks += 1
        if chunks == number:
            kill(journal, "train")
        return train_chunk(trainer, *arguments)

    Trainer._train_chunk = counted


def main() -> None:
    run_dir, journal, moment, settings = Path(sys.argv[1]), Journal(sys.argv[2]), sys.argv[3], sys.argv[4]
    phase, *numbers = moment.split()
    kill_in_save(journal, *map(int, numbers)) if phase == "save" else kill_in_save(journal, 0, 0)
    if phase == "train":
        kill_in_training(journal, int(numbers[0]))
    Pace.add = lambda pace, steps, seconds: 1  # one step a call, so that every moment is one
    steps = steps_in(run_dir / FOLDER)
    journal.write("start", steps[0] if steps else 0)
    if steps:
        jaxchar.resume(run_dir, display=quiet())
    else:
        jaxchar.fit(jaxchar.Config.from_json(json.loads(settings)), run_dir, display=quiet())


if __name__ == "__main__":
    main()
