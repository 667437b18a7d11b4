"""What this process may compute with: its processor, how much of it, and memory."""

import contextlib
import hashlib
import os
import platform
from pathlib import Path


def num_cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def kind_of_processor() -> str:
    """Return a short name that two machines share only if each can run what the other compiled."""
    features = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        features = "".join(
            sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
        )
    return f"{platform.machine()}-{hashlib.sha256(features.encode()).hexdigest()[:12]}"


def memory_bytes() -> int:
    """Return how much memory JAX's default device has; a processor has the machine's."""
    import jax

    on_device = jax.local_devices()[0].memory_stats() or {}
    return on_device.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
