"""The other side of :mod:`jaxchar.benchmark.worker`: processes that answer requests, and may fail."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from jaxchar.benchmark.baselines import PLATFORM_VARIABLE

PATIENCE = 300.0  # seconds for work that may compile, or may be slow on a busy machine
LAST_WORDS = 300  # characters of what a process printed before it ended
# Several processes share one accelerator: none may take nearly all of its memory when it starts.
ENVIRONMENT = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "PYTHONUNBUFFERED": "1"}
# All compute where the plan says. On a processor nobody sees a card, whatever his library could do with one.
NO_CARD = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}


class Absent(Exception):
    """A baseline cannot continue; ``why`` in one line, ``failed`` if it should have been able to."""

    def __init__(self, why: str, *, failed: bool) -> None:
        """Take the reason."""
        super().__init__(why)
        self.why, self.failed = why, failed


class Worker:
    """A process that answers requests."""

    def __init__(self, command: Sequence[str], platform: str | None = None) -> None:
        """Start it; see :func:`worker_command` for the command of a baseline, and :func:`workers`."""
        where = {} if platform is None else {PLATFORM_VARIABLE: platform}
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - closed in close()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=os.environ | ENVIRONMENT | where | (NO_CARD if platform == "cpu" else {}),
            start_new_session=True,  # Ctrl-C is for the parent, which ends it
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")  # it has ended

    def ask(self, request: dict[str, Any], patience: float = PATIENCE) -> dict[str, Any]:
        """Return the answer to a request.

        Raises:
            Absent: it cannot take part, has failed or ended, or has not answered after ``patience`` seconds.
        """
        self.send(request)
        return self.receive(patience)

    def send(self, request: dict[str, Any]) -> None:
        """Ask without waiting for the answer."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # that it has ended shows when the answer is awaited
            print(json.dumps(request), file=self._process.stdin, flush=True)

    def receive(self, patience: float = PATIENCE) -> dict[str, Any]:
        """Return the answer to the request sent last; see :meth:`ask`."""
        try:
            line = self._lines.get(timeout=patience)
        except queue.Empty:
            raise Absent(f"it did not answer for {patience:,.0f} seconds", failed=True) from None
        try:
            answer = json.loads(line)
        except ValueError:
            raise Absent(self._last_words(), failed=True) from None
        for kind in ("left_out", "failed"):
            if kind in answer:
                raise Absent(answer[kind], failed=kind == "failed")
        return answer

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        code = self._process.poll()
        how = f"was ended by {signal.Signals(-code).name}" if code and code < 0 else f"left with code {code}"
        self._errors.seek(0)
        said = [line.strip() for line in self._errors.read().splitlines() if line.strip()]
        return f"it {how}" + (f": {said[-1][-LAST_WORDS:]}" if said else "")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._listener.join()
        for stream in (self._process.stdout, self._errors, self._process.stdin):
            with contextlib.suppress(BrokenPipeError):  # the last request was never read
                if stream is not None:
                    stream.close()


def worker_command(name: str, devices: int | None = None) -> list[str]:
    """Return the command of a baseline's process, or of the judge's or the machine's."""
    command = [sys.executable, "-m", "jaxchar.benchmark.worker", name]
    return command if devices is None else [*command, "--devices", str(devices)]


@contextlib.contextmanager
def workers(commands: dict[str, list[str]], platform: str | None = None) -> Iterator[dict[str, Worker]]:
    """Start processes that compute on a platform (None: JAX's choice), and end all of them at the end."""
    started: dict[str, Worker] = {}
    try:
        for name, command in commands.items():
            started[name] = Worker(command, platform)
        yield started
    finally:
        for worker in started.values():
            worker.close()
