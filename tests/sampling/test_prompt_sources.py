"""Where a prompt comes from: the default, a file, the training text."""

import io
import types

import pytest
from runs import TINY, quiet

import jaxchar
from jaxchar.checkpoint.find import peek
from jaxchar.data.corpus import load_corpus
from jaxchar.errors import JaxcharError
from jaxchar.sampling.prompt_sources import default_prompt, prompt_from_corpus, prompt_from_file


@pytest.mark.parametrize(("symbols", "prompt"), [("ab\n ", "\n"), ("ab ", " "), ("ba", "a")])
def test_the_default_prompt_is_a_line_break_a_space_or_the_first_symbol(symbols, prompt):
    assert default_prompt(jaxchar.Vocabulary(symbols)) == prompt


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_is_read_as_utf_8_or_as_its_mark_says(tmp_path, encoding):
    (tmp_path / "prompt").write_bytes("caf\u00e9\n".encode(encoding))
    assert prompt_from_file(str(tmp_path / "prompt")) == "caf\u00e9\n"


def test_a_dash_is_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=io.BytesIO(b"the ")))
    assert prompt_from_file("-") == "the "


def test_a_file_in_another_encoding_is_refused_with_the_position(tmp_path):
    (tmp_path / "prompt").write_bytes("caf\u00e9".encode("cp1252"))
    with pytest.raises(JaxcharError, match="byte 0xe9 at position 3 is not UTF-8"):
        prompt_from_file(str(tmp_path / "prompt"))


def test_the_training_text_is_read_at_a_position(tmp_path):
    metadata = peek(jaxchar.fit(TINY, tmp_path / "run", display=quiet()).run_dir)
    text = load_corpus(TINY).text
    for position in (0, 7, len(text) - TINY.seq_len):
        assert prompt_from_corpus(metadata, position) == text[position : position + TINY.seq_len]
    with pytest.raises(JaxcharError, match="must be a position from 0 to 984, but it is 985"):
        prompt_from_corpus(metadata, 985)
