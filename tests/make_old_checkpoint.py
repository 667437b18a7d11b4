"""Make the checkpoint that every later version must load: ``python tests/make_old_checkpoint.py``.

Once for each format version; what was made is never made anew.
"""

import tarfile
import tempfile
from pathlib import Path

import jaxchar
from jaxchar.checkpoint.record import FORMAT_VERSION

SENTENCE = "to be or not to be, "


def main() -> None:
    """Train a tiny model on one sentence, and pack its run."""
    archive = Path(__file__).with_name(f"format_{FORMAT_VERSION}.tar.gz")
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "sentence.txt"
        corpus.write_text(SENTENCE * 60)
        config = jaxchar.Config(
            corpus=str(corpus),
            batch_size=4,
            seq_len=20,
            hidden_size=8,
            ema_decay=0.5,
            learning_rate=0.03,
            epochs=30,
            keep_checkpoints=1,
            sample_length=0,
        )
        jaxchar.fit(config, Path(folder) / "run")
        with tarfile.open(archive, "x:gz") as packed:
            packed.add(Path(folder) / "run" / "checkpoints", "run/checkpoints")
            packed.add(corpus, "sentence.txt")


if __name__ == "__main__":
    main()
