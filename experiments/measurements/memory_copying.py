"""How much a model with a memory copies, and how fast it writes, by the longest context that it goes by.

    python experiments/measurements/memory_copying.py RUN --contexts 0 4 6 8 24 --length 50000

One line a context (0: the network alone): passages of 20, 30 and 50 characters that stand verbatim in the
training text, as shares of all passages of the written text, medians over the seeds; the longest one;
characters a second.
The last line is held-out text, which nobody copied.
"""

import argparse
import time

import numpy as np

from jaxchar.checkpoint.find import load_checkpoint
from jaxchar.checkpoint.weights import weights_structure
from jaxchar.config import SampleConfig
from jaxchar.data.dataset import load_own_dataset
from jaxchar.language_model import LanguageModel, from_checkpoint
from jaxchar.memory.text_memory import TextMemory
from jaxchar.sampling.memory_decoder import Remembering
from jaxchar.scoring.memorization import overlap

LENGTHS = (20, 30, 50)


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run")
    parser.add_argument("--contexts", type=int, nargs="+", default=[0, 3, 4, 5, 6, 8, 24])
    parser.add_argument("--length", type=int, default=50_000)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    loaded = load_checkpoint(arguments.run, weights_structure, None)
    model, trained = from_checkpoint(loaded), loaded.metadata
    dataset = load_own_dataset(trained.config, trained.vocabulary, trained.corpus)
    training, held_out = (np.asarray(dataset.splits[name]) for name in ("train", "validation"))
    remembering = Remembering(TextMemory(training, len(trained.vocabulary)))
    model = LanguageModel(model.config, model.vocabulary, model.graphdef, model.state, remembering)
    for longest in arguments.contexts:
        writer = model.with_memory(1.0 if longest else 0.0, longest).session
        shares, rates, most = [], [], 0
        for seed in range(arguments.seeds):
            settings = SampleConfig(length=arguments.length, temperature=arguments.temperature, seed=seed)
            start = writer.start("\n")
            for _ in writer.write(start, SampleConfig(length=2_000)):
                pass  # compiles
            began = time.perf_counter()
            text = "".join(piece for piece, _ in writer.write(start, settings))
            rates.append(arguments.length / (time.perf_counter() - began))
            found = overlap(trained.vocabulary.encode(text), training, trained.vocabulary)
            shares.append([found.copied_shares.get(n) for n in LENGTHS])
            most = max(most, found.longest.length)
        said = " ".join(
            f"{n}: {share:.2%}" for n, share in zip(LENGTHS, np.median(shares, axis=0), strict=True)
        )
        print(
            f"context {longest:2}  {said}  longest {most}  {np.median(rates):,.0f} characters/s", flush=True
        )
    found = overlap(held_out, training, trained.vocabulary)
    print("held out   ", " ".join(f"{n}: {found.copied_shares.get(n):.2%}" for n in LENGTHS))


if __name__ == "__main__":
    main()
