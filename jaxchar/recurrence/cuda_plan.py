"""How a recurrent layer is laid out on an NVIDIA card: blocks, registers, memory; and what does not fit.

The kernels are in ``cuda/layer.cu``. A block takes eight rows of the batch and some units, a warp eight
of them. The recurrent kernel stays in registers and shared memory over all time steps: its size decides.
"""

from typing import NamedTuple

import jax

ROWS = 8  # of the batch, for a block or a cluster of blocks
CLUSTERS = (1, 2, 4, 8)  # blocks that share the units; more than eight are not portable between cards
MOST_UNITS = 128  # of a block: four threads each
WARP_REGISTERS = 512  # of the threads of one place in all warps of a quarter of a block
MOST_REGISTERS = 255  # of a thread
OTHER_REGISTERS = 64  # of a thread, for all but the recurrent kernel
CLUSTER_REGISTERS = 24  # more, for the addresses of other blocks
# Shared memory that a block may have, in KiB, by compute capability (CUDA C++ Programming Guide, "Technical
# Specifications per Compute Capability").
SHARED_KIB = {8.0: 163, 8.7: 163, 9.0: 227, 10.0: 227, 10.3: 227, 11.0: 227}
LEAST_SHARED_KIB = 99  # of other cards
LITTLE_SHARED = 64 * 1024  # bytes; with no more of it, a layer is not spread over more blocks
FIRST_CAPABILITY, FIRST_WITH_CLUSTERS = 8.0, 9.0  # products in bfloat16, clusters of blocks


class Plan(NamedTuple):
    """How the units of a layer are spread over a card."""

    padded: int  # units with padding: each block has the same number, a multiple of 8
    blocks: int  # of a cluster; 1: no cluster
    in_registers: int  # fragments of the recurrent kernel that a thread has in registers
    shared_bytes: int  # of a block, with the other fragments

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return 4 * self.padded // self.blocks


def plan_of(hidden_size: int, parts: int, capability: float = FIRST_WITH_CLUSTERS) -> Plan | None:
    """Return how a layer is laid out; None if it does not fit.

    The smallest cluster is taken that needs little shared memory, else the one that needs least of it.

    Args:
        hidden_size: H.
        parts: bfloat16 numbers to a number.
        capability: the card's compute capability.
    """
    clusters = CLUSTERS if capability >= FIRST_WITH_CLUSTERS else CLUSTERS[:1]
    plans = [laid_out(hidden_size, parts, blocks) for blocks in clusters]
    most = 1024 * SHARED_KIB.get(capability, LEAST_SHARED_KIB)
    fitting = [plan for plan in plans if plan is not None and plan.shared_bytes <= most]
    small = [plan for plan in fitting if plan.shared_bytes <= LITTLE_SHARED]
    if small:
        return small[0]
    return min(fitting, key=lambda plan: plan.shared_bytes, default=None)


def laid_out(hidden_size: int, parts: int, blocks: int) -> Plan | None:
    """Return how a layer is spread over so many blocks; None if they would have too many units."""
    step = max(16, 8 * blocks)
    padded = -(-hidden_size // step) * step
    units = padded // blocks
    if units > MOST_UNITS:
        return None
    threads, fragments = 4 * units, padded // 8 * parts
    warps_of_quarter = -(-threads // 128)
    registers = min(MOST_REGISTERS, WARP_REGISTERS // warps_of_quarter // 8 * 8)
    registers -= OTHER_REGISTERS + (CLUSTER_REGISTERS if blocks > 1 else 0)
    in_registers = max(0, min(fragments, registers // 4))
    # As in layer.cu: h of now and of the step before; or dz, and the parts of dh of two steps.
    forward = 2 * parts * ROWS * (padded + 8) * 2
    backward = parts * ROWS * (4 * units + 8) * 2 + 2 * max(2, blocks) * ROWS * (units + 4) * 4
    held = (fragments - in_registers) * threads * 16
    return Plan(padded, blocks, in_registers, max(forward, backward) + held)


def why_not(hidden_size: int, parts: int) -> str:
    """Return why a layer does not fit the cards of this process; empty if it does."""
    capability = capability_here()
    if capability < FIRST_CAPABILITY:
        return f"it needs a card of compute capability {FIRST_CAPABILITY}, and this one has {capability}"
    if plan_of(hidden_size, parts, capability) is None:
        what = "bfloat16" if parts == 1 else f"float32, {parts} numbers in bfloat16 each,"
        return f"a layer of {hidden_size} units in {what} does not fit into the card's registers and memory"
    return ""


def capability_here() -> float:
    """Return the least compute capability of the cards of this process.

    A program can be compiled for a card that is not there: then it is one with clusters of blocks.
    """
    if jax.default_backend() != "gpu":
        return FIRST_WITH_CLUSTERS
    try:
        return min(float(device.compute_capability) for device in jax.local_devices())
    except (AttributeError, ValueError):  # not NVIDIA's
        return 0.0
