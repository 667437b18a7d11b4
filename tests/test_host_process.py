"""A library leaves its host alone: nothing global differs after a public call."""

import os
import subprocess
import sys

import promises
import pytest

from jaxchar.training import plot
from jaxchar.training.metrics import Series

pytestmark = promises.HOST

# In a process of its own: pytest gives the root logger handlers, and itself changes most of what is compared.
HOST = r"""
import locale, logging, os, random, shutil, signal, sys, threading, warnings
from pathlib import Path
import absl.logging, flax, jax, matplotlib, numpy as np, optax, scipy.special
from jax._src.config import config_states

def snapshot():
    loggers = {name: logging.getLogger(name) for name in ("", "absl", "jax", "matplotlib", "py.warnings")}
    return {
        "backend": dict.__getitem__(matplotlib.rcParams, "backend"),
        "rcParams": {k: str(dict.__getitem__(matplotlib.rcParams, k)) for k in matplotlib.rcParams},
        "pyplot": "matplotlib.pyplot" in sys.modules,
        "loggers": {n: (l.level, l.handlers[:], l.filters[:], l.disabled) for n, l in loggers.items()},
        "logging": (logging.getLoggerClass(), logging.lastResort, logging.root.manager.disable),
        "warnings": [str(f) for f in warnings.filters], "showwarning": warnings.showwarning,
        "signals": {s: signal.getsignal(s) for s in signal.valid_signals()},
        "environ": dict(os.environ), "cwd": os.getcwd(), "path": sys.path[:],
        "jax": {name: state.value for name, state in config_states.items()},
        "numpy": (np.geterr(), str(np.get_printoptions()), str(np.random.get_state())),
        "random": random.getstate(), "locale": locale.setlocale(locale.LC_ALL),
        "streams": [(s, s.errors, s.encoding) for s in (sys.stdout, sys.stderr)],
        "hooks": (sys.excepthook, threading.excepthook, sys.displayhook, sys.unraisablehook),
        "threads": sorted(t.name for t in threading.enumerate() if not t.daemon),
        "recursion": (sys.getrecursionlimit(), sys.gettrace(), sys.getswitchinterval()),
    }

def changed(call, work):
    before = snapshot()
    result = work()
    after = snapshot()
    for name in before:
        if before[name] != after[name]:
            print(call, "changed", name, before[name], "to", after[name])
    return result

def refused(work):
    try:
        work()
    except ValueError:
        return
    print("not refused")

run = sys.argv[1] + "/run"
jaxchar = changed("import", lambda: __import__("jaxchar"))
changed("all modules", lambda: [getattr(jaxchar, name) for name in jaxchar.__all__])
settings = dict(corpus="python", max_chars=1000, batch_size=4, seq_len=16, hidden_size=6, epochs=1)
config = changed("Config", lambda: jaxchar.Config(**settings, sample_length=5))
from rich.console import Console
from jaxchar.progress.display import TrainingDisplay
silent = lambda: TrainingDisplay(Console(quiet=True))
changed("fit", lambda: jaxchar.fit(config, run, display=silent()))
again = config.replace(epochs=2)
changed("resume", lambda: jaxchar.resume(run, config=again, display=silent()))
model = changed("load", lambda: jaxchar.load(run))
changed("generate", lambda: model.generate("a", 10))
changed("stream", lambda: list(model.stream("a", 10)))
changed("stream left early", lambda: next(model.stream("a", 10)))
changed("generate_batch", lambda: model.generate_batch(["a", "e"], 10))
changed("score", lambda: model.score("the test"))
ids = jax.numpy.asarray(model.vocabulary.encode("the test of it"))
from jaxchar.scoring.protocols import stateful_pass
changed("evaluate", lambda: model.evaluate(ids, stateful_pass(len(ids))))
changed("read_metrics", lambda: jaxchar.read_metrics(run))
changed("a refusal", lambda: refused(lambda: model.generate("")))
changed("another refusal", lambda: refused(lambda: jaxchar.fit(config, run)))
newest = max(Path(run, "checkpoints").iterdir(), key=lambda path: int(path.name))
next(Path(newest, "state").rglob("0*")).unlink()
shutil.rmtree(next(path for path in Path(newest, "state").iterdir() if path.is_dir()))
warnings.simplefilter("error", RuntimeWarning)
warnings.simplefilter("ignore", UserWarning)
changed("a damaged checkpoint", lambda: jaxchar.load(run))
"""


@pytest.mark.slow
def test_nothing_global_differs_after_any_public_call(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-c", HOST, str(tmp_path)],
        env={
            **os.environ,
            "MPLBACKEND": "svg",
            "MPLCONFIGDIR": str(tmp_path),
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        },
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


# ---- the picture ---------------------------------------------------------------------------------

PICTURE = """
import sys
from pathlib import Path
import numpy as np
from jaxchar.training.plot import plot_loss
from jaxchar.training.metrics import Series
plot_loss({"val_loss": Series(np.arange(3), np.ones(3))}, "$mine_{", Path(sys.argv[1]))
print("matplotlib.pyplot" in sys.modules)
"""


@pytest.mark.parametrize(
    "backend", ["module://no_such_module", pytest.param("nonsense", marks=pytest.mark.slow)]
)
def test_a_picture_is_drawn_whatever_backend_the_environment_names(backend, tmp_path):
    picture = tmp_path / "loss.png"
    ran = subprocess.run(
        [sys.executable, "-c", PICTURE, str(picture)],
        env={**os.environ, "MPLBACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stdout) == (0, "False\n"), ran.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_picture_is_drawn_in_a_style_of_its_own_and_leaves_the_hosts(tmp_path):
    import matplotlib
    import numpy as np

    def picture(name):
        plot.plot_loss({"val_loss": Series(np.arange(3), np.ones(3))}, "title", tmp_path / name)
        return (tmp_path / name).read_bytes()

    plain = picture("plain.png")
    with matplotlib.rc_context({"text.usetex": True, "savefig.format": "pdf", "figure.facecolor": "black"}):
        before = dict(matplotlib.rcParams)
        assert picture("hosts.png") == plain
        assert dict(matplotlib.rcParams) == before
