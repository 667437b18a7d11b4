"""How a layer is spread over a card: what fits into one block, into a cluster of them, and nowhere."""

from types import SimpleNamespace

import jax
import pytest

from jaxchar.recurrence import cuda_plan
from jaxchar.recurrence.cuda_plan import plan_of

A100, RTX_4090, H100, B200 = 8.0, 8.9, 9.0, 10.0
BFLOAT16, FLOAT32 = 1, 3  # parts of a number


@pytest.mark.parametrize("capability", [A100, RTX_4090, H100, B200])
@pytest.mark.parametrize("hidden_size", [1, 16, 100, 128])
def test_up_to_128_units_in_bfloat16_are_one_block_on_every_card(hidden_size, capability):
    plan = plan_of(hidden_size, BFLOAT16, capability)
    assert plan.blocks == 1 and plan.padded % 16 == 0 and 0 <= plan.padded - hidden_size < 16
    assert plan.threads == 4 * plan.padded <= 512


@pytest.mark.parametrize(
    ("hidden_size", "parts", "fits"),
    [
        (64, FLOAT32, {A100, RTX_4090, H100}),
        (128, FLOAT32, {H100}),
        (256, FLOAT32, {H100}),
        (512, FLOAT32, set()),
        (256, BFLOAT16, {H100}),
        (512, BFLOAT16, {H100}),
        (1024, BFLOAT16, set()),
    ],
)
def test_larger_layers_need_a_card_with_clusters(hidden_size, parts, fits):
    assert {card for card in (A100, RTX_4090, H100) if plan_of(hidden_size, parts, card)} == fits


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("capability", [A100, RTX_4090, H100])
def test_every_plan_is_within_the_limits_of_a_card(parts, capability):
    for hidden_size in range(1, 600):
        plan = plan_of(hidden_size, parts, capability)
        if plan is None:
            continue
        assert plan.padded >= hidden_size and plan.padded % (8 * plan.blocks) == plan.padded % 16 == 0
        assert plan.blocks == 1 or capability >= H100
        assert plan.threads <= 512 and 0 <= plan.in_registers <= plan.padded // 8 * parts
        assert plan.shared_bytes <= 1024 * {A100: 163, RTX_4090: 99, H100: 227}[capability]
        # A quarter of a block's warps share 16,384 registers.
        warps = -(-plan.threads // 128)
        assert 32 * warps * (4 * plan.in_registers + cuda_plan.OTHER_REGISTERS) <= 16_384


@pytest.mark.parametrize(
    ("capability", "largest"),
    [(9.0, (512, 384, 256)), (12.0, (448, 256, 192)), (8.0, (128, 128, 96)), (8.9, (128, 96, 96))],
)
def test_the_largest_layers_are_those_that_the_page_on_devices_names(capability, largest):
    sizes = range(1, 700)
    found = [[size for size in sizes if plan_of(size, parts, capability)] for parts in (1, 2, 3)]
    assert tuple(map(len, found)) == tuple(fitting[-1] for fitting in found) == largest


def with_card(monkeypatch, capability):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    cards = [SimpleNamespace(compute_capability=capability), SimpleNamespace(compute_capability="9.0")]
    monkeypatch.setattr(jax, "local_devices", lambda: cards)


def test_the_oldest_card_decides(monkeypatch):
    with_card(monkeypatch, "7.5")
    assert "needs a card of compute capability 8.0, and this one has 7.5" in cuda_plan.why_not(8, BFLOAT16)
    with_card(monkeypatch, "8.0")
    assert cuda_plan.why_not(128, BFLOAT16) == ""
    assert "256 units in bfloat16 does not fit" in cuda_plan.why_not(256, BFLOAT16)
    with_card(monkeypatch, "gfx90a")  # AMD's
    assert cuda_plan.capability_here() == 0


def test_without_a_card_it_is_one_with_clusters():
    assert cuda_plan.why_not(512, BFLOAT16) == ""
    assert "512 units in float32, 3 numbers in bfloat16 each, does not fit" in cuda_plan.why_not(512, FLOAT32)
