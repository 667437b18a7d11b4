"""Any bytes can be offered as a corpus: they are read exactly, or refused in one line with the remedy."""

import contextlib
import io
import os
from pathlib import Path

import numpy as np
import promises
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxchar import train
from jaxchar.config import Config
from jaxchar.data.dataset import load_dataset
from jaxchar.data.text_file import MARKS
from jaxchar.errors import JaxcharError
from jaxchar.parallel.devices import make_mesh
from jaxchar.training.setup import checked_program

pytestmark = promises.ANY_BYTES

MARK = "\ufeff"
texts = st.text(st.characters() | st.sampled_from("\0\r\n\t\x1b\u2028\ud800\U0010ffff" + MARK), max_size=200)
encoded = st.builds(
    lambda text, encoding: text.encode(encoding, "surrogatepass"),
    texts,
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"]),
)
lines = st.lists(st.sampled_from([b"a", b"\r\n", b"\n", b"\r", b"\xef\xbb\xbf", b"\0"])).map(b"".join)
broken = st.builds(
    lambda a, b: a + b"\xed\xa0\x80" + b, encoded, encoded
)  # a lone surrogate, as UTF-8 might have it
contents = st.binary(max_size=200) | encoded | lines | broken | st.sampled_from([b"", b"x", b"ab"])
configs = st.builds(
    Config,
    batching=st.sampled_from(["streams", "windows"]),
    seq_len=st.integers(1, 40),
    batch_size=st.integers(1, 10),
    val_fraction=st.sampled_from([0.0, 0.1, 0.5]),
    test_fraction=st.sampled_from([0.0, 0.3]),
    lowercase=st.booleans(),
    sample_length=st.just(0),
)


def is_exact_or_refused(content: bytes, config: Config, file: Path) -> bool:
    """Offer some bytes as a corpus; whether what was read of them is what they say."""
    file.write_bytes(content)
    try:
        dataset = load_dataset(config.replace(corpus=str(file)))
        checked_program(config, dataset, make_mesh())
    except JaxcharError as error:
        message = str(error)
        return "\n" not in message and "; " in message  # what is wrong; what to do
    ids = np.concatenate([np.asarray(ids) for ids in dataset.splits.values()])
    marked = next((encoding for mark, encoding in MARKS if content.startswith(mark)), "utf-8")
    text = content.decode(marked).removeprefix(MARK)
    return dataset.vocabulary.decode(ids) == (text.lower() if config.lowercase else text)


@pytest.mark.parametrize("cases", [200, pytest.param(4_800, marks=pytest.mark.slow)])
def test_any_bytes_are_read_exactly_or_refused(cases, tmp_path, monkeypatch, tried):
    monkeypatch.setattr("jaxchar.training.setup.make_program", lambda *_: None)
    monkeypatch.setattr("jaxchar.training.setup.check_memory", lambda *_: None)
    monkeypatch.setattr("jaxchar.training.setup.check_recurrence", lambda *_: None)
    held = of = 0

    @settings(max_examples=cases, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(contents, configs)
    def offer(content, config):
        nonlocal held, of
        of += 1
        exact = is_exact_or_refused(content, config, tmp_path / "corpus")
        held += exact
        assert exact

    offer()
    assert of >= cases * 0.9
    tried(held, of)


def test_a_hundred_thousand_symbols_are_read_exactly(tmp_path):
    text = "".join(map(chr, range(0x10000, 0x10000 + 100_000)))
    config = Config(val_fraction=0.0)
    assert is_exact_or_refused(text.encode(), config, tmp_path / "corpus")
    assert len(load_dataset(config.replace(corpus=str(tmp_path / "corpus"))).vocabulary) == 100_000


BAD = {
    "empty": (b"", "is empty; give"),
    "one character": (
        b"x",
        "has 1 characters, but --seq-len 16 and --batch-size 4 as streams need at least 65",
    ),
    "shorter than a batch": (b"to be or not to be", "need at least 65; lower them, or give more text"),
    "a split too short": (b"x" * 66, "the validation text has 1 characters"),
    "UTF-16": ("to be or not to be".encode("utf-16"), "has 18 characters, but --seq-len 16"),
    "UTF-16, damaged": (
        b"\xff\xfet\0o\0 ",
        "not UTF-16-LE, as its byte-order mark says: byte 0x20 at position 6",
    ),
    "UTF-16 without a mark": (
        "to be or not to be".encode("utf-16-le"),
        "is UTF-16-LE without a byte-order mark",
    ),
    "Latin 1": (b"to be \xe9 or not", "not UTF-8: byte 0xe9 at position 6"),
    "a lone surrogate": (b"to be\xed\xa0\x80", "not UTF-8: byte 0xed at position 5"),
}


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(("content", "said"), BAD.values(), ids=BAD)
def test_what_cannot_be_used_is_one_line_with_position_and_remedy(content, said, tmp_path, capsys):
    (tmp_path / "corpus").write_bytes(content)
    options = (
        f"--corpus {tmp_path}/corpus --run-dir {tmp_path}/run --seq-len 16 --batch-size 4 --val-fraction 0.02"
    )
    with pytest.raises(SystemExit, match="2"):
        train.main(arguments=options.split())
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
    assert not (tmp_path / "run").exists()


def test_a_device_that_never_ends_is_not_read():
    with pytest.raises(JaxcharError, match="'/dev/zero' is a device; give a file"):
        load_dataset(Config(corpus="/dev/zero"))


def test_a_pipe_is_read_as_a_file_is():
    reader, writer = os.pipe()
    with contextlib.closing(io.FileIO(writer, "w")) as pipe:
        pipe.write(b"to be or not to be")
    text = load_dataset(Config(corpus=f"/dev/fd/{reader}", val_fraction=0.0))
    os.close(reader)
    assert text.identity.characters == 18
