"""Whether a change of the code changes a bit of any result: a digest for every experiment.

    python experiments/measurements/fingerprint.py > before.txt   # and after the change, to compare
    python experiments/measurements/fingerprint.py shakespeare nietzsche --steps 20

Trains some steps of each experiment in a process of its own, interrupts none of them, and prints a SHA-256 of
every array of its last checkpoint, of its losses, of its samples, and of what its model writes on the command
line. Two versions of jaxchar on one machine, with the same libraries, must print the same.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

EXPERIMENTS = Path(__file__).parent.parent
NAMES = sorted(path.stem for path in EXPERIMENTS.glob("*.py"))
UNTOUCHED_BY_TIME = ("step", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "smoothed_loss")
COMMON_FLAGS = (
    "--checkpoint-every=8",
    "--eval-every=8",
    "--sample-every=8",
    "--log-every=4",
)


def fingerprint(name: str, steps: int, run: Path) -> dict[str, str]:
    """Train an experiment for some steps; return a digest of each kind of result."""
    experiment = str(EXPERIMENTS / f"{name}.py")
    _run(experiment, f"--run-dir={run}", f"--max-steps={steps}", "--sample-length=40", *COMMON_FLAGS)
    written = _run("-m", "jaxchar.sample", f"--ckpt={run}", "--length=300", "--seed=1", "--prompt=The ")
    held_out = run.parent / "held_out.txt"
    held_out.write_text("the quick brown fox jumps over the lazy dog, " * 100, encoding="utf-8")
    scored = _run("-m", "jaxchar.evaluate", f"--ckpt={run}", "--json", f"--corpus={held_out}", "--which=last")
    checkpoint = max((run / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))
    record = json.loads((checkpoint / "metadata" / "metadata").read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [{key: line[key] for key in UNTOUCHED_BY_TIME if key in line} for line in lines]
    kinds = {
        "arrays": {array: leaf["sha256"] for array, leaf in record["leaves"].items()},
        "losses": losses,
        "samples": (run / "samples.txt").read_text(encoding="utf-8"),
        "written": written,
        "scored": scored.replace(str(run.parent), ""),
    }
    return {
        kind: hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]
        for kind, found in kinds.items()
    }


def _run(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {done.stderr}")
    return done.stdout


def main() -> None:
    """Print a line for every experiment that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="*", default=NAMES)
    parser.add_argument("--steps", type=int, default=16)
    typed = parser.parse_args()
    for name in typed.experiments:
        with tempfile.TemporaryDirectory() as folder:
            found = fingerprint(name, typed.steps, Path(folder) / "run")
        print(name, *(f"{kind}={digest}" for kind, digest in found.items()), flush=True)


if __name__ == "__main__":
    main()
