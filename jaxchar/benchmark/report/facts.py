"""What the machine is and what it can do: its device, driver, libraries and settings."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from jaxchar.benchmark import events
from jaxchar.benchmark.cells import dtypes_on
from jaxchar.benchmark.report.clock import Clock
from jaxchar.benchmark.report.sections import Row

COMMAND_SECONDS = 10
CARD = ("name", "driver_version", "memory.total", "power.limit", "clocks.max.sm")  # of nvidia-smi
# Distributions whose versions decide what a card computes and how fast.
PLUGINS = ("jax-cuda", "jax-rocm", "nvidia-", "libtpu", "triton")
# Variables of the environment that do the same; none of these has a secret in it.
SETTINGS = ("JAX_", "JAXCHAR_", "XLA_", "CUDA_", "NCCL_", "LIBTPU_", "OMP_", "NVIDIA_TF32_OVERRIDE")


def machine(platform: str, clock: Clock) -> Iterator[Row]:
    """Yield one row of facts, and one of the best products and copies."""
    del clock
    about = events.describe_machine()
    yield about | {
        "card": card(),
        "plugins": plugins(),
        "settings": {name: value for name, value in os.environ.items() if name.startswith(SETTINGS)},
        "commit": commit(),
    }
    platform = about["platform"]
    yield events.measure_machine(dtypes_on(platform), platform)


def card() -> dict[str, str]:
    """Return what NVIDIA's tool says of the first card; empty where there is none."""
    if shutil.which("nvidia-smi") is None:
        return {}
    said = _output(["nvidia-smi", f"--query-gpu={','.join(CARD)}", "--format=csv,noheader"])
    first = said.splitlines()[0].split(", ") if said else []
    return dict(zip(CARD, first, strict=False))


def plugins() -> dict[str, str]:
    """Return the versions of the libraries for accelerators that are installed."""
    found = {one.metadata["Name"]: one.version for one in metadata.distributions()}
    return {name: found[name] for name in sorted(filter(None, found)) if name.startswith(PLUGINS)}


def commit() -> str:
    """Return the commit of the source, with a plus sign where files differ from it; empty: there is none."""
    here = str(Path(__file__).parent)
    name = _output(["git", "-C", here, "rev-parse", "--short=12", "HEAD"])
    changed = name and _output(["git", "-C", here, "status", "--porcelain", "--untracked-files=no"])
    return name + ("+" if changed else "")


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
