"""Compile jaxchar's programs for accelerators on a machine that has none, and tell what XLA made of them.

    python compile_programs.py h100 2 OUT.json          # the device's name, how many, where the report goes
    python compile_programs.py h100 1 OUT.json muon     # only the programs with this in their names

XLA compiles for a described device ("ahead of time"): for an H100 with the wheels of JAX's CUDA plug-in, for
a TPU v5e with libtpu. Of a GPU's programs, the thunks are dumped and counted, see :mod:`thunks`.
"""

import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

DUMP = tempfile.mkdtemp(prefix="thunks-")
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = f"--xla_dump_to={DUMP} --xla_dump_hlo_as_text=true"
os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # there is no TPU machine to ask
os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # nor one that processes could quarrel about
with contextlib.suppress(ImportError):  # XLA looks for ptxas in PATH
    import nvidia

    os.environ["PATH"] = os.pathsep.join(
        [*(f"{folder}/cuda_nvcc/bin" for folder in nvidia.__path__), os.environ["PATH"]]
    )

import jax  # noqa: E402  after the environment, which XLA reads once
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from flax import nnx  # noqa: E402
from jax.experimental import topologies  # noqa: E402
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec  # noqa: E402
from thunks import counts_of  # noqa: E402

from jaxchar.ambient import pinned  # noqa: E402
from jaxchar.benchmark.baselines.ours import config_of  # noqa: E402
from jaxchar.benchmark.cells import CELLS  # noqa: E402
from jaxchar.config import Config  # noqa: E402
from jaxchar.data.batches import Documents, Streams  # noqa: E402
from jaxchar.parallel.devices import AXIS  # noqa: E402
from jaxchar.recurrence.fused import ACCELERATOR_UNROLL  # noqa: E402
from jaxchar.sampling.context import StreamContext  # noqa: E402
from jaxchar.sampling.filters import TracedParams  # noqa: E402
from jaxchar.sampling.jax_decoder import JaxDecoder  # noqa: E402
from jaxchar.scoring.validation import make_evaluation  # noqa: E402
from jaxchar.tracing import traced_for  # noqa: E402
from jaxchar.training.step import make_program  # noqa: E402

H100 = (Path(__file__).parent / "h100.txt").read_text(encoding="utf-8")
V, N = 36, 100_000
SMALL: dict[str, Any] = {"hidden_size": 128, "seq_len": 16, "batch_size": 32}
WINDOWS: dict[str, Any] = {"batching": "windows", "shuffle": True, "return_sequences": False}
DROPOUTS: dict[str, Any] = {
    "dropout": 0.1,
    "input_dropout": 0.1,
    "recurrent_dropout": 0.1,
    "weight_dropout": 0.1,
}
TRAINING = {
    f"{cell}, {dtype}, {batching}": {"cell": cell, "dtype": dtype, **options}
    for cell in ("lstm", "gru", "rnn")
    for dtype in ("float32", "bfloat16")
    for batching, options in (("streams", {}), ("windows", WINDOWS))
}
TRAINING |= {
    "tf32": {"precision": "tf32"},
    "default": {"precision": "default"},
    "dropouts": {
        "num_layers": 2,
        "embedding_size": 16,
        "tie_embeddings": True,
        "lane_offsets": True,
        **DROPOUTS,
    },
    "muon": {"optimizer": "muon", "clip_norm": 1.0, "ema_decay": 0.9, "skip_nonfinite": True},
    "documents": {"separator": "\n"},
}
# Whole layers in one kernel: of one block, and of a cluster of blocks.
IN_CUDA: dict[str, dict[str, Any]] = {
    "cuda, lstm, bfloat16": {"cell": "lstm", "dtype": "bfloat16"},
    "cuda, gru, float32, dropouts": {"cell": "gru", "recurrent_bias": True, "num_layers": 2, **DROPOUTS},
    "cuda, lstm, bfloat16, cluster": {"cell": "lstm", "dtype": "bfloat16", "hidden_size": 256},
}
TRAINING |= {name: settings | {"implementation": "cuda"} for name, settings in IN_CUDA.items()}
MEASURED = {cell.name: cell for cell in CELLS if cell.name in ("words_generator", "shakespeare")}


def mesh_of(device: str, count: int) -> Mesh:
    """Return a mesh of described devices."""
    if device == "h100":
        found = topologies.get_topology_desc(platform="cuda", target_config=H100, topology=f"1x1x{count}")
    else:
        found = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2")
    return Mesh(np.array(found.devices[:count]), (AXIS,), axis_types=(AxisType.Auto,))


def laid_out(tree: Any, mesh: Mesh) -> Any:
    """Return the shapes of arrays that every device of a mesh holds whole."""
    layout = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=layout), tree)


def described(lowered: jax.stages.Lowered, seq_len: int = 16) -> dict[str, Any]:
    """Compile a program; return what it is made of."""
    for file in Path(DUMP).iterdir():
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    started = time.perf_counter()
    compiled = lowered.compile()
    seconds, text = time.perf_counter() - started, compiled.as_text()
    assembly = "\n".join(file.read_text(errors="replace") for file in Path(DUMP).glob("*.ptx"))
    memory = compiled.memory_analysis()
    thunks = list(Path(DUMP).glob("*.thunk_sequence_after_thunk_passes.txt"))  # of a GPU alone
    return {
        "seconds": round(seconds, 1),
        "callbacks": len(re.findall(r'custom_call_target="[^"]*callback', text)),
        "products": len(re.findall(r" (?:dot|convolution)\(|__cublas\$", text)),
        "tf32": len(re.findall(r"tf32", assembly + text)),
        "bf16": len(re.findall(r"mma\S*bf16", assembly)) + len(re.findall(r"bf16\[", text)),
        "layers in CUDA": text.count('custom_call_target="__gpu$xla.gpu.ptx"'),
        "all-reduces": len(re.findall(r" all-reduce(?:-start)?\(", text)),
        "donated": getattr(memory, "alias_size_in_bytes", 0),
        **(counts_of(thunks[0], seq_len // ACCELERATOR_UNROLL)._asdict() if thunks else {}),
    }


def training(config: Config, mesh: Mesh) -> tuple[jax.stages.Lowered, int]:
    """Lower a training step; return it and the bytes of its state."""
    program = make_program(config, V, N, mesh)
    state = laid_out(jax.eval_shape(program.initial_state), mesh)
    text = laid_out(jax.ShapeDtypeStruct((N,), jnp.uint8), mesh)
    if config.separator:
        text = Documents(text, laid_out(jax.ShapeDtypeStruct((1_000,), jnp.int32), mesh))
    stop, seed = (laid_out(jax.ShapeDtypeStruct((), kind), mesh) for kind in (jnp.int32, jnp.uint32))
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    return program.train_steps.trace(state, text, stop, seed).lower(), size


def evaluation(mesh: Mesh) -> jax.stages.Lowered:
    """Lower the evaluation of a text."""
    program = make_program(Config(**SMALL), V, N, mesh)
    params = laid_out(jax.eval_shape(program.initial_state).params, mesh)
    evaluate = make_evaluation(program.graphdef, Streams(N, 16, 32, whole=True), mesh)
    return evaluate.trace(params, laid_out(jax.ShapeDtypeStruct((N,), jnp.uint8), mesh)).lower()


def sampling(mesh: Mesh) -> jax.stages.Lowered:
    """Lower the sampler of eight texts."""
    program, texts = make_program(Config(**SMALL), V, N, mesh), 8
    params = jax.eval_shape(program.initial_state).params

    def sample(params: Any, keys: jax.Array) -> Any:
        with traced_for(mesh.devices.flat[0].platform):
            decoder = JaxDecoder.of(nnx.merge(program.graphdef, params), "batched")
            carry = jax.tree.map(lambda part: jnp.zeros((texts, *part.shape)), decoder.zero_carry)
            contexts = StreamContext(carry, jnp.zeros(texts, jnp.int32))
            counts = jnp.full(texts, 8, jnp.int32)
            traced = TracedParams(*(jnp.float32(1) for _ in TracedParams._fields))
            return decoder.sample(contexts, keys, jnp.int32(0), counts, traced, filters=False)

    keys = laid_out(jax.eval_shape(lambda: jax.random.split(jax.random.key(0), texts)), mesh)
    return jax.jit(sample).trace(laid_out(params, mesh), keys).lower()


def main(device: str, count: int, out: Path, only: str = "") -> None:
    """Compile everything; write a report."""
    mesh, report = mesh_of(device, count), {}
    programs = {name: Config(**SMALL | settings) for name, settings in TRAINING.items()}
    if count == 1:
        programs |= {name: config_of(cell, "float32") for name, cell in MEASURED.items()}
    if device == "tpu":
        del programs["tf32"]  # which it does not have
        programs = {name: config for name, config in programs.items() if name not in IN_CUDA}
    with pinned():
        for name, config in programs.items():
            if only in name:
                lowered, size = training(config, mesh)
                report[name] = described(lowered, config.seq_len) | {"state": size}
                print(name, report[name], flush=True)
        for name, lower in (("evaluation", evaluation), ("sampling", sampling)):
            if only in name and count == 1:
                report[name] = described(lower(mesh))
    out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
