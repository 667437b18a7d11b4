"""Fit the gate that mixes a network's predictions with a memory's counts: ``jaxchar/memory/gate.json``.

    python experiments/measurements/fit_gate.py RUN:TEXT ...            # fit on all, and write it
    python experiments/measurements/fit_gate.py RUN:TEXT ... --leave-out  # fit without each, and score on it

Each run was trained on its text, less the last tenth. The gate is fitted on that tenth, which neither the
network nor the counts have seen, once with the counts of the training text and once with counts that grow.
All runs count equally. A text whose last tenth is to be reported must be cut off before it: train on its
first nine tenths only.
"""

import argparse
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxchar
from jaxchar.memory import gate as gate_module
from jaxchar.memory import native_memory
from jaxchar.memory.gate import Counts, Gate
from jaxchar.memory.lookup import Reading
from jaxchar.memory.text_index import ORDERS, TextIndex
from jaxchar.scoring.protocols import stateful_pass

HIDDEN, STEPS, ROWS, PENALTY = 32, 1000, 4096, 1e-5
SAMPLES = 20_000  # predictions of each run and kind of counting


def observed(run: str, text: str) -> dict[bool, tuple]:
    """Return what the gate sees and what each expert gave on a held-out text, by whether counts grow."""
    model = jaxchar.load(run)
    ids = model.vocabulary.encode(Path(text).read_text(encoding="utf-8"))
    held_out = round(model.config.val_fraction * len(ids))
    train, rest = ids[:-held_out], ids[-held_out:]
    found = model.predictions(jnp.asarray(rest), stateful_pass(len(rest)))
    index = TextIndex.of(train)
    result = {}
    for growing in (False, True):
        counts = native_memory.count_text(index, len(model.vocabulary), rest, Reading(0, growing))
        counts = Counts(*(np.asarray(part)[found.positions] for part in counts))
        features = gate_module.features_of(counts, found.entropies, found.largest)
        experts = gate_module.probabilities_of(counts, len(model.vocabulary))
        result[growing] = features, jnp.concatenate([jnp.exp(-found.surprises)[:, None], experts], axis=1)
    return result


def loss(gate: Gate, features: jax.Array, experts: jax.Array) -> jax.Array:
    """Return the mean surprise of the mixture."""
    return -jnp.log(jnp.sum(gate.weights(features) * experts, axis=1)).mean()


def fit(parts: list[tuple]) -> Gate:
    """Fit a gate on features and experts, the same number of each part."""
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, len(features), SAMPLES) for features, _ in parts]
    features, experts = (
        jnp.concatenate([part[side][some] for part, some in zip(parts, rows, strict=True)]) for side in (0, 1)
    )
    key, outputs = jax.random.key(0), 1 + len(ORDERS)
    gate = Gate(
        inner=0.2 * jax.random.normal(key, (features.shape[1], HIDDEN)),
        inner_bias=jnp.zeros(HIDDEN),
        outer=0.1 * jax.random.normal(key, (HIDDEN, outputs)),
        outer_bias=jnp.zeros(outputs).at[0].set(1.5),
    )
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, STEPS))

    def penalised(gate: Gate, some: jax.Array) -> jax.Array:
        return loss(gate, features[some], experts[some]) + PENALTY * sum(jnp.sum(w**2) for w in gate)

    @jax.jit
    def step(gate: Gate, state: optax.OptState, key: jax.Array) -> tuple[Gate, optax.OptState]:
        gradients = jax.grad(penalised)(gate, jax.random.randint(key, (ROWS,), 0, len(features)))
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(gate, updates), state

    state = optimizer.init(gate)
    for number in range(STEPS):
        gate, state = step(gate, state, jax.random.fold_in(key, number))
    return gate


def main() -> None:
    """Fit as the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="RUN:TEXT")
    parser.add_argument("--leave-out", action="store_true", help="fit without each run, and score on it")
    parser.add_argument("--out", default=str(Path(gate_module.__file__).with_name("gate.json")))
    arguments = parser.parse_args()
    seen = {given: observed(*given.split(":")) for given in arguments.runs}
    for given, parts in seen.items() if arguments.leave_out else ():
        gate = fit([part for other in seen.keys() - {given} for part in seen[other].values()])
        alone = -np.log(np.asarray(parts[False][1][:, 0])).mean()
        print(given, f"{alone:.4f}", *(f"{loss(gate, *part):.4f}" for part in parts.values()), flush=True)
    if not arguments.leave_out:
        gate = fit([part for parts in seen.values() for part in parts.values()])
        record = {name: np.round(np.asarray(value), 4).tolist() for name, value in gate._asdict().items()}
        Path(arguments.out).write_text(json.dumps(record) + "\n", encoding="utf-8")
        print(f"Wrote {arguments.out}")


if __name__ == "__main__":
    main()
