"""What the tests of terminals share: a program run in a pseudo-terminal, and the screen that it leaves."""

import errno
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pyte

ROOT = Path(__file__).parent.parent


def run_in_terminal(program: str, columns: int, rows: int = 24, **environment: str) -> str:
    """Run a program of Python's in a terminal of some size; return all that it wrote."""
    mine, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    variables = kept | {"TERM": "xterm-256color", "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)} | environment
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=theirs, stdout=theirs, stderr=theirs, env=variables
    ) as process:
        os.close(theirs)
        output = b""
        while piece := _read(mine):
            output += piece
        assert process.wait(timeout=60) == 0, output
    os.close(mine)
    return output.decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError as error:
        if error.errno == errno.EIO:  # how a terminal says that the other side is gone
            return b""
        raise


def screen_of(output: str, columns: int, rows: int = 24) -> list[str]:
    """Return the lines that stand on a screen after some output, less empty ones at the end."""
    screen = pyte.Screen(columns, rows)
    pyte.Stream(screen).feed(output)
    lines = [line.rstrip() for line in screen.display]
    while lines and not lines[-1]:
        lines.pop()
    return lines
