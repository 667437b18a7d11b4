"""PyTorch: ``nn.LSTM``, ``nn.Linear`` and fused Adam, on all cores or on the GPU, as the others.

On a GPU, ``torch.autocast`` gives cuDNN's LSTM float16, also where bfloat16 is asked for
(``autocast_mode.cpp``, ``_cudnn_rnn_cast_reflatten``); so it is named.
"""

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from jaxchar.benchmark import data
from jaxchar.benchmark.baselines import PLATFORM_VARIABLE, LeftOut
from jaxchar.benchmark.cells import READING_STEPS, Cell

GRAPH_WARMUP = 3  # steps on a side stream before a CUDA graph is captured, as PyTorch's notes ask


def _device(dtype: str) -> torch.device:
    """Return where to train, threads and precision set."""
    torch.set_num_threads(os.cpu_count() or 1)
    wanted = os.environ.get(PLATFORM_VARIABLE, "cpu")
    if wanted == "cpu":
        return torch.device("cpu")
    if wanted != "gpu" or not torch.cuda.is_available():
        raise LeftOut(f"the others compute on a {wanted}, and this PyTorch cannot")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = dtype == "tf32"
    return torch.device("cuda")


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


class Model(nn.Module):
    """One-hot characters, a stack of LSTM layers, a linear head."""

    def __init__(self, cell: Cell) -> None:
        """Draw weights."""
        super().__init__()
        self.lstm = nn.LSTM(cell.vocab_size, cell.hidden_size, cell.num_layers, batch_first=True)
        self.head = nn.Linear(cell.hidden_size, cell.vocab_size)
        self.vocab_size = cell.vocab_size

    def forward(self, inputs: torch.Tensor, state: Any = None, last_only: bool = False) -> tuple:
        """Return logits, [B, T, V] or [B, V], for ids [B, T], and the state after them."""
        features, state = self.lstm(functional.one_hot(inputs, self.vocab_size).float(), state)
        return self.head(features[:, -1] if last_only else features), state

    def named(self) -> dict[str, nn.Parameter]:
        """Return the weights by the benchmark's names; PyTorch keeps them transposed."""
        named = {}
        for layer in range(self.lstm.num_layers):
            named[f"input {layer + 1}"] = getattr(self.lstm, f"weight_ih_l{layer}")
            named[f"recurrent {layer + 1}"] = getattr(self.lstm, f"weight_hh_l{layer}")
            named[f"bias {layer + 1}"] = getattr(self.lstm, f"bias_ih_l{layer}")
        return named | {"head": self.head.weight, "head bias": self.head.bias}

    def second_biases(self) -> list[nn.Parameter]:
        """Return the second biases of PyTorch, which are redundant."""
        return [getattr(self.lstm, f"bias_hh_l{layer}") for layer in range(self.lstm.num_layers)]


class Torch:
    """A model, its optimiser, and whole steps, captured in a CUDA graph or not."""

    def __init__(self, cell: Cell, dtype: str, graph: bool) -> None:
        """Make the model and put the text on the device."""
        self.cell, self.device, self.dtype, self.graph = cell, _device(dtype), dtype, graph
        lowered = dtype == "bfloat16" and self.device.type == "cuda"
        self.variant = "float16" if lowered else ""
        if graph and self.device.type != "cuda":
            raise LeftOut("a CUDA graph needs a GPU")
        self.model = Model(cell).to(self.device)
        self.num_parameters = sum(parameter.numel() for parameter in self.model.parameters())
        self.redundant_parameters = sum(bias.numel() for bias in self.model.second_biases())
        self.ids = torch.from_numpy(data.made_up_text(cell.vocab_size).astype(np.int64)).to(self.device)
        rows = torch.from_numpy(data.batch_starts(cell, 0))[:, None]
        self.positions = (rows + torch.arange(cell.seq_len + 1)).to(self.device)
        self.start = torch.zeros((), dtype=torch.int64, device=self.device)  # of this step, in the text

    def load(self, weights: data.Weights) -> None:
        """Take these weights, a fresh optimiser and the first batch."""
        with torch.no_grad():
            for name, parameter in self.model.named().items():
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(weights[name].T)))
            for bias in self.model.second_biases():
                bias.zero_()
        # Adam moves each of the two biases as far as one: at half the rate, their sum moves as one bias does.
        second = self.model.second_biases()
        named = self.model.named()
        biases = [bias for name, bias in named.items() if name.startswith("bias ")] + second
        others = [parameter for name, parameter in named.items() if not name.startswith("bias ")]
        self.optimizer = torch.optim.Adam(
            [{"params": others}, {"params": biases, "lr": data.LEARNING_RATE / 2}],
            lr=data.LEARNING_RATE,
            betas=data.BETAS,
            eps=data.EPSILON,
            fused=True,
            capturable=self.graph,
        )
        self.step = 0
        self._captured: Any = None

    def _loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        lower = torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == "bfloat16")
        with lower:
            logits, _ = self.model(inputs, last_only=self.cell.many_to_one)
        return functional.cross_entropy(logits.float().flatten(0, -2), targets.flatten())

    def _whole_step(self) -> None:
        batch = data.inputs_and_targets(self.cell, self.ids[self.positions + self.start])
        self.optimizer.zero_grad(set_to_none=True)
        self._loss(*batch).backward()
        if self.cell.clip_value:
            nn.utils.clip_grad_value_(self.model.parameters(), self.cell.clip_value)
        if self.cell.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.cell.clip_norm)
        self.optimizer.step()

    def _capture(self, weights: data.Weights) -> None:
        """Record a whole step as a CUDA graph, and go back to the weights before it."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(GRAPH_WARMUP):
                self._whole_step()
        torch.cuda.current_stream().wait_stream(side)
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            self._whole_step()
        with torch.no_grad():
            for name, parameter in self.model.named().items():
                parameter.copy_(torch.from_numpy(weights[name]))
            for bias in self.model.second_biases():
                bias.zero_()
            for moments in self.optimizer.state.values():  # in place: the graph knows these tensors
                for moment in moments.values():
                    moment.zero_()
        self._captured = captured

    def loss_and_gradient(self) -> tuple[float, data.Weights]:
        """Return loss and gradient of the first batch."""
        inputs, targets = (torch.from_numpy(ids.astype(np.int64)) for ids in data.first_batch(self.cell))
        self.model.zero_grad()
        loss = self._loss(inputs.to(self.device), targets.to(self.device))
        loss.backward()
        gradient = {name: parameter.grad.cpu().numpy().T for name, parameter in self.model.named().items()}
        return loss.item(), gradient

    def train(self, steps: int) -> float:
        """Do steps, in eager mode or as replays of one graph."""
        if self.graph and self._captured is None:
            self._capture({name: p.detach().cpu().numpy() for name, p in self.model.named().items()})
        one_step = self._captured.replay if self.graph else self._whole_step
        _wait(self.device)
        started = time.perf_counter()
        for step in range(self.step, self.step + steps):
            self.start.fill_(step % self.cell.steps_per_epoch * self.cell.step_distance)
            one_step()
        _wait(self.device)
        self.step += steps
        return time.perf_counter() - started


def prepare(cell: Cell, dtype: str, *, graph: bool = False) -> Torch:
    """Return PyTorch for a cell."""
    return Torch(cell, dtype, graph)


# ---- writing and reading -------------------------------------------------------------------------


@contextlib.contextmanager
def _without_gradient(device: torch.device, dtype: str):
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
        yield


def writer(cell: Cell, dtype: str) -> Callable[[int], float]:
    """Return the usual first loop: one call per character."""
    device = _device(dtype)
    model = Model(cell).to(device)

    def write(chars: int) -> float:
        started = time.perf_counter()
        last, state, drawn = torch.zeros((cell.batch_size, 1), dtype=torch.int64, device=device), None, []
        with _without_gradient(device, dtype):
            for _ in range(chars):
                logits, state = model(last, state, last_only=True)
                last = torch.multinomial(torch.softmax(logits.float(), dim=-1), 1)
                drawn.append(last)
        torch.cat(drawn, dim=1).cpu()
        return time.perf_counter() - started

    return write


def reader(cell: Cell, dtype: str) -> Callable[[int], float]:
    """Return what reads a text in parallel lanes with the state carried, for its loss."""
    device = _device(dtype)
    model = Model(cell).to(device)
    text = data.made_up_text(cell.vocab_size)[: READING_STEPS * cell.step_chars + 1].astype(np.int64)
    inputs, targets = (torch.from_numpy(part).to(device) for part in (text[:-1], text[1:]))
    inputs, targets = (part.view(cell.batch_size, -1) for part in (inputs, targets))

    def read(times: int) -> float:
        started = time.perf_counter()
        with _without_gradient(device, dtype):
            for _ in range(times):
                state, loss = None, torch.zeros((), device=device)
                for at in range(0, inputs.shape[1], cell.seq_len):
                    logits, state = model(inputs[:, at : at + cell.seq_len], state)
                    now = targets[:, at : at + cell.seq_len].flatten()
                    loss += functional.cross_entropy(logits.float().flatten(0, 1), now, reduction="sum")
        loss.item()
        return time.perf_counter() - started

    return read
