"""Fit the gates that mix a network's predictions with counts: ``gate.json``, ``growing_gate.json``.

    python experiments/measurements/fit_gate.py RUN:TEXT ...              # fit on all, and write it
    python experiments/measurements/fit_gate.py RUN:TEXT ... --growing    # the gate while a text is read
    python experiments/measurements/fit_gate.py RUN:TEXT ... --leave-out  # fit without each, and score on it

Each run was trained on its text, less the last tenth. The gate is fitted on that tenth, which neither the
network nor the counts have seen, once with the counts of the training text and once with counts that grow.
All runs count equally. A text whose last tenth is to be reported must be cut off before it: train on its
first nine tenths only.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxchar
from jaxchar.memory import gate as gate_module
from jaxchar.memory.gate import Evidence, Gate, evidence_of, mixture_surprises
from jaxchar.memory.growing import GATE as GROWING_GATE
from jaxchar.memory.growing import learning_surprises, with_read
from jaxchar.memory.lookup import Reading
from jaxchar.memory.read_counts import count_read
from jaxchar.memory.text_memory import TextMemory
from jaxchar.scoring.protocols import stateful_pass

HIDDEN, STEPS, ROWS, PENALTY = 32, 1000, 4096, 1e-5
SAMPLES = 20_000  # predictions of each run and kind of counting


def observed(run: str, text: str) -> dict[str, Evidence]:
    """Return what is known of the characters of a held-out text, by how they are counted.

    ``static`` and ``grown`` are for the gate that sees one kind of counts, ``growing`` for the one that sees
    also what was read alone.
    """
    model = jaxchar.load(run)
    ids = model.vocabulary.encode(Path(text).read_text(encoding="utf-8"))
    held_out = round(model.config.val_fraction * len(ids))
    train, rest = ids[:-held_out], ids[-held_out:]
    found = model.predictions(jnp.asarray(rest), stateful_pass(len(rest)))
    memory = TextMemory(train, len(model.vocabulary))

    def at_predictions(counts: Any) -> Any:
        return jax.tree.map(lambda part: np.asarray(part)[found.positions], counts)

    def evidence(grows: bool) -> Evidence:
        counts = at_predictions(memory.counts(rest, Reading(0, grows)))
        return evidence_of(found.surprises, found.entropies, found.largest, counts, memory.num_symbols)

    grown = evidence(True)
    growing = with_read(grown, at_predictions(count_read(rest)))
    return {"static": evidence(False), "grown": grown, "growing": growing}


def loss(gate: Gate, evidence: Evidence) -> jax.Array:
    """Return the mean surprise of the mixture."""
    return mixture_surprises(gate, evidence).mean()


def fit(parts: list[Evidence]) -> Gate:
    """Fit a gate, on the same number of characters of each part."""
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, len(part.features), SAMPLES) for part in parts]
    chosen = [
        jax.tree.map(lambda array, some=some: array[some], part)
        for part, some in zip(parts, rows, strict=True)
    ]
    evidence = jax.tree.map(lambda *arrays: jnp.concatenate(arrays), *chosen)
    key = jax.random.key(0)
    num_features, num_experts = evidence.features.shape[1], evidence.experts.shape[1]
    gate = Gate(
        inner=0.2 * jax.random.normal(key, (num_features, HIDDEN)),
        inner_bias=jnp.zeros(HIDDEN),
        outer=0.1 * jax.random.normal(key, (HIDDEN, num_experts)),
        outer_bias=jnp.zeros(num_experts).at[0].set(1.5),
    )
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, STEPS))

    def penalised(gate: Gate, some: jax.Array) -> jax.Array:
        batch = jax.tree.map(lambda array: array[some], evidence)
        return loss(gate, batch) + PENALTY * sum(jnp.sum(w**2) for w in gate)

    @jax.jit
    def step(gate: Gate, state: optax.OptState, key: jax.Array) -> tuple[Gate, optax.OptState]:
        gradients = jax.grad(penalised)(gate, jax.random.randint(key, (ROWS,), 0, len(evidence.features)))
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
    parser.add_argument("--growing", action="store_true", help="the gate of a text that is being read")
    parser.add_argument("--leave-out", action="store_true", help="fit without each run, and score on it")
    arguments = parser.parse_args()
    kinds = ("growing",) if arguments.growing else ("static", "grown")
    seen = {given: observed(*given.split(":")) for given in arguments.runs}
    for given, found in seen.items() if arguments.leave_out else ():
        gate = fit([seen[other][kind] for other in seen.keys() - {given} for kind in kinds])
        alone = -np.log(np.asarray(found["static"].experts[:, 0])).mean()
        losses = [f"{kind} {loss(gate, found[kind]):.4f}" for kind in kinds]
        if arguments.growing:
            losses.append(f"and learning {np.mean(learning_surprises(gate, found['growing'])):.4f}")
        print(given, f"network {alone:.4f}", *losses, flush=True)
    if not arguments.leave_out:
        gate = fit([found[kind] for found in seen.values() for kind in kinds])
        record = {name: np.round(np.asarray(value), 4).tolist() for name, value in gate._asdict().items()}
        out = Path(gate_module.__file__).with_name(GROWING_GATE if arguments.growing else "gate.json")
        out.write_text(json.dumps(record) + "\n", encoding="utf-8")
        print(f"Wrote {out}")


if __name__ == "__main__":
    main()
