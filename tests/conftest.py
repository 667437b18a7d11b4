"""What all tests share: the machine's settings, and a small text."""

import jax
import pytest

jax.config.update("jax_platforms", "cpu")


@pytest.fixture(scope="session")
def text() -> str:
    """Some thousand characters of English that every interpreter has."""
    from pydoc_data.topics import topics

    return "".join(topics[name] for name in sorted(topics))[:6_000]


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    """No test reads or fills the user's cache of corpora."""
    monkeypatch.setenv("JAXCHAR_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session", autouse=True)
def compile_once(tmp_path_factory):
    """Let runs of the same configuration share what XLA compiles."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
