"""Exported files: what lies beside the weights, what stays, and the same bits when they are read."""

import json

import numpy as np
import pytest
from foreign import SYMBOLS, our_logits, random_ids, random_model

import jaxchar
from jaxchar.errors import JaxcharError

OURS = [
    {"cell": "lstm", "sizes": (6,)},
    {
        "cell": "lstm",
        "sizes": (6, 5),
        "embedding": 4,
        "gate": "hard_sigmoid",
        "batching": "windows",
        "seq_len": 9,
    },
    {"cell": "lstm", "sizes": (6,), "embedding": 4, "tie": True},
    {"cell": "gru", "sizes": (6, 5)},
    {"cell": "gru", "sizes": (6,), "two_biases": True, "embedding": 3},
    {"cell": "rnn", "sizes": (6, 5, 4), "embedding": 4},
]


@pytest.mark.parametrize("options", OURS)
def test_a_model_that_is_saved_and_loaded_is_the_same_to_the_bit(options, tmp_path):
    model = random_model(**options)
    weights, *_ = jaxchar.save(model, tmp_path / "m.safetensors")
    back = jaxchar.load(weights)
    assert (back.config, back.vocabulary) == (model.config, model.vocabulary)
    text = "".join(SYMBOLS[i] for i in random_ids(30))
    assert our_logits(back, text).tobytes() == our_logits(model, text).tobytes()
    assert back.score(text).surprises.tobytes() == model.score(text).surprises.tobytes()


def test_a_folder_gets_the_files_that_other_tools_look_for(tmp_path):
    from safetensors import safe_open

    model = random_model("gru", (6,))
    files = jaxchar.save(model, tmp_path / "hub")
    assert [path.name for path in files] == [
        "model.safetensors",
        "config.json",
        "vocabulary.json",
        "README.md",
    ]
    with safe_open(files[0], "np") as opened:
        assert opened.metadata()["format"] == "pt"
        assert np.array_equal(opened.get_tensor("head.bias"), model.state["head"]["bias"][...])
    config = json.loads(files[1].read_text())
    assert (config["model_type"], config["cell"], config["hidden_sizes"]) == ("jaxchar", "gru", [6])
    assert jaxchar.load(tmp_path / "hub").config == model.config
    assert json.loads(files[2].read_text()) == {s: i for i, s in enumerate(sorted(SYMBOLS))}
    assert files[3].read_text().startswith("---\nlibrary_name: jaxchar\n")


def test_a_path_of_the_training_text_is_not_given_away(tmp_path):
    model = random_model("lstm", (6,), corpus=("/home/somebody/secret/diary.txt", "b.txt"))
    weights, *_ = jaxchar.save(model, tmp_path / "m.safetensors")
    assert b"somebody" not in weights.read_bytes()
    assert jaxchar.load(weights).config.corpus == ("diary.txt", "b.txt")


def test_nothing_that_is_there_is_lost(tmp_path):
    model, other = random_model("lstm", (6,)), random_model("gru", (5,))
    (tmp_path / "README.md").write_text("mine")
    weights, *_, card = jaxchar.save(model, tmp_path / "m.safetensors")
    assert (card.name, (tmp_path / "README.md").read_text()) == ("m.md", "mine")
    before = weights.read_bytes()
    for path in (weights, tmp_path / "other.safetensors"):
        with pytest.raises(JaxcharError, match=r"overwrite="):
            jaxchar.save(other, path)
    assert weights.read_bytes() == before
    assert not (tmp_path / "other.safetensors").exists()
    jaxchar.save(model, tmp_path / "again.safetensors")  # beside it: its description is the same
    jaxchar.save(other, weights, overwrite=True)
    assert jaxchar.load(weights).config.cell == "gru"


def test_the_settings_of_a_run_are_never_replaced(tmp_path):
    (tmp_path / "config.json").write_text('{"corpus": "auto"}')
    with pytest.raises(JaxcharError, match="of something else"):
        jaxchar.save(random_model("lstm", (6,)), tmp_path / "m.safetensors", overwrite=True)


@pytest.mark.parametrize("name", ["m.h5", "m.bin", "m.txt"])
def test_a_suffix_of_no_format_is_one_line(name, tmp_path):
    with pytest.raises(JaxcharError, match=r"must end in \.safetensors, \.keras, \.pt, \.pth, \.onnx"):
        jaxchar.save(random_model("lstm", (6,)), tmp_path / name)


def test_a_file_cannot_be_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JaxcharError, match="cannot write to"):
        jaxchar.save(random_model("lstm", (6,)), tmp_path / "file" / "m.safetensors")


def test_a_path_is_no_model(tmp_path):
    with pytest.raises(JaxcharError, match=r"must be a LanguageModel, but it is 'runs/a'; give jaxchar.load"):
        jaxchar.save("runs/a", tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("suffix", "needed", "said"),
    [
        (".keras", ("h5py", "keras"), "## With Keras"),
        (".onnx", ("onnx", "onnxruntime"), "## With ONNX Runtime"),
        (".safetensors", ("torch",), "## With PyTorch"),
        (".h", (), "## With C"),
    ],
)
@pytest.mark.parametrize("embedding", [0, 4])
def test_the_card_has_the_program_for_its_format(suffix, needed, said, embedding, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    for package in needed[:1]:
        pytest.importorskip(package)
    model = random_model("lstm", (6,), embedding)
    *_, card = jaxchar.save(model, tmp_path / f"m{suffix}")
    section = card.read_text().split("\n## ")[-1]
    assert f"## {section}".startswith(said)
    for package in needed:
        pytest.importorskip(package)
    if needed:
        monkeypatch.chdir(tmp_path)
        names: dict[str, object] = {}
        exec(section.split("```python\n")[1].split("```")[0], names)
        logits = names["logits"]
        logits = logits.detach().numpy() if hasattr(logits, "detach") else np.asarray(logits)
        text = model.vocabulary.symbols[:3]
        np.testing.assert_allclose(logits[0], our_logits(model, text), atol=1e-5)
