"""What all tests share: the machine's settings, a small text, and the table of promises."""

import contextlib
import gc
import itertools
import os
import signal
import sys
from collections import defaultdict
from pathlib import Path

import jax
import pytest
from hypothesis import settings

from jaxchar import cache
from jaxchar.recurrence import native

# As where the environment was activated: messages then call this Python "python".
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])

# Tests marked ``device`` hold on an accelerator, too: `make accelerator-report` runs them there.
PLATFORMS = os.environ.get("JAXCHAR_TEST_PLATFORMS", "cpu")
jax.config.update("jax_platforms", PLATFORMS)
jax.config.update("jax_num_cpu_devices", 4)  # for the tests of several; all others use the first
if PLATFORMS == "cpu":
    # Most of the tests' time is XLA's compiling of models that run for a moment.
    jax.config.update("jax_disable_most_optimizations", True)
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # also in the processes that tests start
else:
    jax.config.update("jax_default_matmul_precision", "highest")  # which is a processor's only one
FAST_TO_COMPILE = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
with pytest.MonkeyPatch.context() as environment:
    if jax.__version_info__ < (0, 11):  # a flag that XLA does not know ends the process
        environment.setenv("XLA_FLAGS", f"{os.environ.get('XLA_FLAGS', '')} {FAST_TO_COMPILE}")
    jax.numpy.zeros(1).block_until_ready()  # XLA reads its flags now, and never again

native.is_available()  # builds it, in the user's cache, where it is found the next time
BUILT = list(cache.folder_for_compiled().glob("native-*.so"))
CACHES = itertools.count()  # numbers of folders


def pytest_configure(config):
    """Try more examples where slow tests are run, too; the same ones each time. Take Ctrl-C as usual."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs behind it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup ignores
    settings.register_profile("test", max_examples=100, derandomize=True, deadline=None)
    settings.register_profile("prove", max_examples=400, derandomize=True, deadline=None)
    settings.load_profile("test" if config.getoption("markexpr") == "not slow" else "prove")


@pytest.fixture(scope="session")
def text() -> str:
    """Some thousand characters of English that every interpreter has."""
    from pydoc_data.topics import topics

    return "".join(topics[name] for name in sorted(topics))[:6_000]


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory, monkeypatch):
    """No test reads or fills the user's cache of corpora.

    The folder is not made, as ``tmp_path`` would be: most of some thousand tests need none.
    """
    monkeypatch.setenv("JAXCHAR_CACHE", str(tmp_path_factory.getbasetemp() / f"cache-{next(CACHES)}"))


@pytest.fixture(scope="session", autouse=True)
def compile_once(tmp_path_factory):
    """Let runs of the same configuration share what XLA compiles, and all what was built of C++."""
    base = tmp_path_factory.getbasetemp()
    # All workers of pytest-xdist share one folder, which lies beside those of their own.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "compiled"
    os.environ["JAXCHAR_COMPILED"] = str(folder)
    cache.folder_for_compiled().mkdir(parents=True, exist_ok=True)
    for library in BUILT:
        with contextlib.suppress(FileExistsError):  # another worker was faster
            (cache.folder_for_compiled() / library.name).symlink_to(library)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


@pytest.fixture(scope="session", autouse=True)
def no_picture():
    """Draw no picture of a run, which takes as long as the run; the tests of pictures draw their own."""
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(
            "jaxchar.training.summary.plot_loss",
            lambda metrics, title, picture, *_: picture.write_bytes(b"\x89PNG"),
        )
        yield


@pytest.fixture(scope="module")
def unmeasured():
    """Choose settings for a text as for a machine of one speed: to measure it is to compile once more."""
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr("jaxchar.training.planner.seconds_per_step", lambda *_: 0.01)
        yield


def pytest_collection_finish():
    """Keep the garbage collector from going through JAX and all tests again and again."""
    gc.collect()
    gc.freeze()


# ---- promises ------------------------------------------------------------------------------------


@pytest.fixture
def tried(record_property):
    """Tell how many cases a test is about to try, and how many of them held."""

    def tell(held: int, of: int) -> None:
        record_property("cases", [held, of])
        assert held == of

    return tell


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Send the promise that a test proves along with its report."""
    outcome = yield
    report = outcome.get_result()
    promise = item.get_closest_marker("promise")
    if promise is not None and (report.when == "call" or report.failed):
        report.user_properties.append(("promise", promise.args[0]))


def pytest_terminal_summary(terminalreporter):
    """Print how often each promise was tried, and how often it held."""
    counts = defaultdict(lambda: [0, 0])
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.stats.get(outcome, []):
            told = dict(getattr(report, "user_properties", ()))  # a file that cannot be collected has none
            if "promise" in told:
                held, of = told.get("cases", [outcome == "passed", 1])
                counts[told["promise"]][0] += held
                counts[told["promise"]][1] += of
    if counts and terminalreporter.config.getoption("markexpr") != "not slow":
        terminalreporter.section("promises")
        for promise, (held, of) in counts.items():
            terminalreporter.line(f"{promise:80} {held:6,} of {of:6,}", red=held < of, green=held == of)
