"""What a model writes while it is trained: from a prompt, from the corpus, or from where training is."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx

from jaxchar.config import Config
from jaxchar.data.batches import Streams
from jaxchar.data.dataset import Dataset
from jaxchar.parallel.devices import on_one_device
from jaxchar.randomness import SAMPLE_KEY, purpose_key
from jaxchar.sampling.context import Context, StreamContext
from jaxchar.sampling.generate import Generator
from jaxchar.training.step import Program, TrainState, evaluation_params, last_character


class Sample(NamedTuple):
    """A text that the model wrote."""

    title: str
    prompt: str
    text: str


class Sampler:
    """Writes the samples of one run; those of a step follow from (seed, step) and the weights."""

    def __init__(self, config: Config, dataset: Dataset, program: Program) -> None:
        """Prepare; nothing is compiled before the first sample."""
        self._config = config
        self._dataset = dataset
        self._program = program
        self._generator = Generator(program.graphdef, config.context_limit)

    def samples(self, state: TrainState, step: int) -> Iterator[Sample]:
        """Yield a sample for every temperature of the configuration."""
        vocabulary = self._dataset.vocabulary
        key = jax.random.fold_in(purpose_key(self._config.seed, SAMPLE_KEY), step)
        params, context, prompt = self.start(state, step, key)
        for number, temperature in enumerate(self._config.sample_temperatures):
            pieces = self._generator.ids(
                params,
                context,
                self._config.sample_length,
                temperature=temperature,
                key=jax.random.fold_in(key, number),
            )
            text = "".join(vocabulary.decode(piece) for piece in pieces)
            yield Sample(f"sample at step {step:,}, temperature {temperature}", prompt, text)

    def start(self, state: TrainState, step: int, key: jax.Array) -> tuple[nnx.State, Context, str]:
        """Return the parameters, the context and the prompt that samples go on from.

        Args:
            state: of training, after ``step`` steps.
            step: steps done.
            key: draws the place in the corpus, where samples begin there.
        """
        config, vocabulary = self._config, self._dataset.vocabulary
        state, ids = on_one_device(state), self._dataset.splits["train"]
        if config.sample_from == "training":
            carry = jax.tree.map(lambda leaf: leaf[:1], state.carry)
            batches = self._program.batches
            assert isinstance(batches, Streams)  # the configuration guarantees it
            last = last_character(config, batches, self._dataset.training_text, step)
            prompt = vocabulary.decode(np.asarray(last)[None])
            return state.params, StreamContext(carry, last), prompt
        params = evaluation_params(state)
        prompt = config.sample_prompt
        if config.sample_from == "corpus":
            length = min(config.seq_len, len(ids))
            start = int(jax.random.randint(key, (), 0, len(ids) - length + 1))
            prompt = vocabulary.decode(np.asarray(ids[start : start + length]))
        return params, self._generator.context(params, vocabulary.encode(prompt)), prompt
