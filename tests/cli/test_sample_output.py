"""How the texts of `jaxchar sample` are printed: in blocks, or as JSON."""

import json

import pytest
from small_model import make_model

from jaxchar.cli.sample_output import SampleOutput
from jaxchar.config import SampleConfig

SETTINGS = [SampleConfig(length=9, seed=1)]


@pytest.fixture(scope="module")
def model():
    return make_model()


def output(model, **options) -> SampleOutput:
    return SampleOutput(
        model.session, **{"as_json": False, "raw": False, "show_alternatives": False, **options}
    )


def test_one_text_is_printed_after_its_prompt(model, capsys):
    assert output(model).write("ab", SETTINGS, 1)
    captured = capsys.readouterr()
    assert captured.out == "ab" + model.generate("ab", 9, seed=1) + "\n"
    assert captured.err.startswith("9 characters: ") and captured.err.endswith("seed 1\n")


def test_several_texts_have_titles(model, capsys):
    assert output(model).write("ab", SETTINGS, 2)
    blocks = [
        f"--- temperature 1, sample {number}\nab{text}\n"
        for number, text in enumerate(model.generate_batch(["ab", "ab"], 9, seed=1))
    ]
    assert capsys.readouterr().out == "".join(blocks)


def test_json_has_a_text_and_its_settings_on_each_line(model, capsys):
    assert output(model, as_json=True, show_alternatives=True).write("ab", SETTINGS, 2)
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["text"] for record in records] == model.generate_batch(["ab", "ab"], 9, seed=1)
    assert [record["sample"] for record in records] == [0, 1]
    assert all(record["prompt"] == "ab" and len(record["alternatives"]) == 9 for record in records)


def test_an_interrupted_text_is_kept_and_told(model, capsys, monkeypatch):
    def interrupted(*_):
        yield ["cd"]
        raise KeyboardInterrupt

    monkeypatch.setattr(model.session, "write_batch", interrupted)
    assert not output(model).write("ab", SETTINGS, 1)
    captured = capsys.readouterr()
    assert captured.out == "abcd\n"
    assert captured.err.startswith("2 characters: ")


def test_documents_that_are_cut_off_are_told(model, capsys):
    assert output(model).write_documents("\n", 3, SampleConfig(length=1, seed=1))
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 3
    documents = [*model.session.write_documents("\n", 3, SampleConfig(length=1, seed=1))]
    cut_off = sum(not document.whole for document in documents)
    assert ("were cut off at 1 characters" in captured.err) == (cut_off > 0)
