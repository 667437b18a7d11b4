"""What XLA makes of jaxchar's programs for an H100 and a TPU v5e; no such device is needed.

Run by ``make test-accelerators``, which installs what XLA needs for them.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
NEEDED = {"h100": ("jax_plugins.xla_cuda12", "nvidia.cuda_nvcc", "nvidia.cuda_nvrtc"), "tpu": ("libtpu",)}
DEVICES = [("h100", 1), ("h100", 2), ("tpu", 1), ("tpu", 2)]
# Per training step, of a loop over time that is unrolled: a change that needs more should say why.
MOST_LAUNCHES = {"words_generator": 9, "shakespeare": 37}
MOST_KERNELS = {"words_generator": 165, "shakespeare": 994}


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@pytest.fixture(scope="module", params=DEVICES, ids=lambda param: f"{param[1]} x {param[0]}")
def compiled(request, tmp_path_factory):
    """The device, how many, and what every program was compiled to."""
    device, count = request.param
    missing = [name for name in NEEDED[device] if not _is_there(name)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: make test-accelerators")
    out = tmp_path_factory.mktemp("compiled") / "report.json"
    command = [sys.executable, str(HERE / "compile_programs.py"), device, str(count), str(out)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(HERE.parent.parent), os.environ.get("PYTHONPATH")))),
    }
    environment.pop("JAX_DISABLE_MOST_OPTIMIZATIONS", None)  # of the other tests
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(done.stderr[-2_000:], pytrace=False)
    return device, count, json.loads(out.read_text())


def training(report):
    """Return what is said of the training steps, by name."""
    return {name: found for name, found in report.items() if "state" in found}


def test_every_program_compiles_and_calls_no_function_of_the_host(compiled):
    _, count, report = compiled
    assert len(training(report)) >= 16
    assert count > 1 or {"evaluation", "sampling"} <= report.keys()
    assert {name: found["callbacks"] for name, found in report.items() if found["callbacks"]} == {}


def test_float32_is_float32(compiled):
    """No product of numbers that were rounded to TF32 or bfloat16, unless that was asked for."""
    device, _, report = compiled
    for name, found in report.items():
        # A kernel in CUDA has float32 numbers as sums of some in bfloat16.
        rounds = "bfloat16" in name or "cuda" in name or (name == "default" and device == "tpu")
        assert rounds or not found["bf16"], name
        assert name in ("tf32", "default") or not found["tf32"], name
    assert device == "tpu" or report["tf32"]["tf32"]
    assert all(found["bf16"] for name, found in report.items() if "bfloat16" in name)


def test_a_layer_in_cuda_is_one_kernel_forward_and_one_backward(compiled):
    device, count, report = compiled
    in_cuda = {name: found["layers in CUDA"] for name, found in report.items() if found["layers in CUDA"]}
    if device == "tpu":
        assert not in_cuda
        return
    layers = {
        "cuda, lstm, bfloat16": 1,
        "cuda, gru, float32, dropouts": 2,
        "cuda, lstm, bfloat16, cluster": 1,
    }
    assert in_cuda == {name: 2 * number for name, number in layers.items()}
    if count == 1:
        kernels = {
            name: report[name]["kernels"] for name in ("lstm, bfloat16, streams", "cuda, lstm, bfloat16")
        }
        assert kernels["cuda, lstm, bfloat16"] < kernels["lstm, bfloat16, streams"] / 2


def test_the_state_is_written_in_place(compiled):
    for name, found in training(compiled[2]).items():
        assert found["donated"] >= found["state"], name


def test_several_devices_add_up_their_gradients(compiled):
    _, count, report = compiled
    assert all(bool(found["all-reduces"]) == (count > 1) for found in training(report).values())


def test_a_step_launches_and_waits_for_little(compiled):
    device, count, report = compiled
    if (device, count) != ("h100", 1):
        pytest.skip("what is launched is known of a GPU, and compared for one")
    assert all(found["waits"] <= 1 for name, found in training(report).items() if name != "documents")
    for name in MOST_LAUNCHES:
        assert report[name]["launches"] <= MOST_LAUNCHES[name], name
        assert report[name]["kernels"] <= MOST_KERNELS[name], name
