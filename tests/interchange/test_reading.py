"""Files of models from anywhere: damaged, hostile, and what they leave open."""

import io
import json
import pickle
import random
import zipfile

import numpy as np
import pytest
from foreign import SYMBOLS, Foreign, V, keras_1_or_2, model_of, random_model

import jaxchar
from jaxchar.errors import JaxcharError
from jaxchar.interchange import hdf5, hdf5_child
from jaxchar.interchange.ours import texts_of
from jaxchar.interchange.parameters import from_params
from jaxchar.interchange.reading import ImportOptions, read_model
from jaxchar.interchange.tensors import safetensors_file
from jaxchar.interchange.torch_state import state_dict


def refused(data, tmp_path, **options):
    path = tmp_path / "model"
    path.write_bytes(data)
    (tmp_path / "v.txt").write_text("".join(SYMBOLS), encoding="utf-8")
    with pytest.raises(JaxcharError) as raised:
        read_model(path, ImportOptions(vocabulary=str(tmp_path / "v.txt"), **options))
    assert "\n" not in str(raised.value)
    return str(raised.value)


def ours():
    model = random_model("lstm", (6, 5), 4)
    return safetensors_file(
        state_dict(from_params(model.state, model.config)), texts_of(model.config, model.vocabulary)
    )


@pytest.mark.parametrize(
    "data", [b"", b"x", b"\x89HDF", b"PK\x03\x04", b"{}", b"\0" * 20, b"\x10" + b"\0" * 7 + b"{" * 20]
)
def test_what_is_no_model_is_one_line(data, tmp_path):
    assert "cannot import" in refused(data, tmp_path)


def test_a_path_that_cannot_be_read_is_one_line(tmp_path):
    for path in (tmp_path / "missing", tmp_path, "a\0b"):
        with pytest.raises(JaxcharError, match="cannot read the model"):
            read_model(path)


def test_what_has_no_end_is_refused_by_its_beginning(tmp_path):
    with pytest.raises(JaxcharError, match="no known format"):
        read_model("/dev/zero")
    with (tmp_path / "huge").open("wb") as file:  # on disk it takes a few bytes
        file.write(hdf5.SIGNATURE)
        file.truncate(1 << 43)
    with pytest.raises(JaxcharError, match="larger than the memory"):
        read_model(tmp_path / "huge")


def test_a_model_without_its_vocabulary_says_how_many_symbols_it_has(tmp_path):
    (tmp_path / "m").write_bytes(safetensors_file(Foreign("lstm", (6,)).torch_arrays(), {}))
    with pytest.raises(JaxcharError, match=f"has {V} symbols.*give vocabulary="):
        read_model(tmp_path / "m")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batching": "windows"}, "give seq_len="),
        ({"return_sequences": False}, "give seq_len="),
        ({"seq_len": 0}, "seq_len"),
        ({"fill": "Z"}, "fill must be a character of the model"),
        ({"batching": "streams", "return_sequences": False, "seq_len": 5}, "return_sequences must be True"),
    ],
)
def test_options_that_do_not_fit_are_one_line(options, said, tmp_path):
    assert said in refused(safetensors_file(Foreign("lstm", (6,)).torch_arrays(), {}), tmp_path, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gate": "sigmoid"}, "must be an ImportOptions, but they are {'gate': 'sigmoid'}"),
        (ImportOptions(gate="hardsigmoid"), "gate must be one of sigmoid, hard_sigmoid, but it is 'hards"),
        (ImportOptions(vocabulary=["a"]), r"cannot read vocabulary= ?\['a'\]"),
    ],
)
def test_options_of_another_kind_are_one_line(options, said, tmp_path):
    (tmp_path / "m").write_bytes(safetensors_file(Foreign("lstm", (6,)).torch_arrays(), {}))
    with pytest.raises(JaxcharError, match=said):
        read_model(tmp_path / "m", options)


def test_a_vocabulary_in_place_of_the_model_is_told_of(tmp_path):
    (tmp_path / "dictionary.pkl").write_bytes(pickle.dumps(dict(enumerate(SYMBOLS))))
    with pytest.raises(JaxcharError, match="as a vocabulary may be, and no model; give it with vocabulary="):
        read_model(tmp_path / "dictionary.pkl")


def test_how_a_text_is_reduced_follows_from_the_vocabulary_and_the_options(tmp_path):
    small = list("abcdefghij")[:V]
    arrays = Foreign("lstm", (6,), v=len(small)).torch_arrays()
    (tmp_path / "m").write_bytes(safetensors_file(arrays, {}))
    (tmp_path / "v.json").write_text(json.dumps(small))
    model = model_of(
        read_model(tmp_path / "m", ImportOptions(vocabulary=str(tmp_path / "v.json"), fill="a")).model
    )
    assert model.config.lowercase
    assert model.config.keep == "".join(small)
    with pytest.warns(UserWarning):
        assert model.score("AbZc").text == "bac"


# ---- hostile -------------------------------------------------------------------------------------


def with_header(change):
    data = safetensors_file(Foreign("lstm", (6,)).torch_arrays(), {})
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header["decoder.bias"].update(shape=[2**40]),
        lambda header: header["decoder.bias"].update(data_offsets=[0, 2**60]),
        lambda header: header["decoder.bias"].update(data_offsets=[-4, 8]),
        lambda header: header["decoder.bias"].update(dtype="BOOL"),
        lambda header: header["decoder.bias"].update(dtype="F1"),
        lambda header: header.update(__metadata__={"jaxchar": 3}),
        lambda header: header.update(__metadata__={"jaxchar": "[" * 100_000}),
        lambda header: header.update(
            __metadata__={"jaxchar": '{"config": {"hidden_size": 9e99}, "vocabulary": []}'}
        ),
        lambda header: header.update(
            __metadata__={
                "jaxchar": '{"config": {"hidden_size": 60000, "num_layers": 100}, "vocabulary": ["a"]}'
            }
        ),
    ],
)
def test_headers_that_claim_what_is_not_there_are_refused(change, tmp_path):
    refused(with_header(change), tmp_path)


def zipped(**members):
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return written.getvalue()


def test_an_archive_that_would_fill_the_memory_is_refused(tmp_path):
    bomb = zipped(config__json="{}", model__weights__h5=bytes(100 << 20))
    assert len(bomb) < 1 << 20
    assert "would unpack to" in refused(bomb, tmp_path)


def test_an_archive_writes_nothing_wherever_its_names_lead(tmp_path):
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("../climbed", b"x")
        archive.writestr("config.json", b"{}")
        archive.writestr("model.weights.h5", b"x")
    refused(written.getvalue(), tmp_path)
    assert not (tmp_path.parent / "climbed").exists()


def test_links_out_of_an_hdf5_file_and_packed_or_huge_arrays_are_refused(tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py")
    monkeypatch.setattr(hdf5, "_output_of_child", hdf5_child.output_for)  # without a process for each
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["kernel"] = np.zeros((6, V), np.float32)

    def external(group):
        group["dense_1/kernel:0"] = h5py.ExternalLink(str(secret), "kernel")

    def soft(group):
        group["dense_1/kernel:0"] = h5py.SoftLink("/model_weights/lstm_1")

    def raw(group):
        group.create_dataset("dense_1/kernel:0", (6, V), np.float32, external=[(str(secret), 0, 6 * V * 4)])

    def virtual(group):
        layout = h5py.VirtualLayout((6, V), np.float32)
        layout[:] = h5py.VirtualSource(str(secret), "kernel", (6, V))
        group.create_virtual_dataset("dense_1/kernel:0", layout)

    def huge(group):
        group.create_dataset("dense_1/kernel:0", (1 << 20, 1 << 20), np.float32, chunks=(8, 8))

    def whole_numbers(group):
        group["dense_1/kernel:0"] = np.zeros((6, V), int)

    for change, said in (
        (external, "link"),
        (soft, "link"),
        (raw, "another file"),
        (virtual, "another file"),
        (huge, "claims"),
        (whole_numbers, "floating-point"),
    ):
        file = io.BytesIO(keras_1_or_2(Foreign("lstm", (6,)), keras=2))
        with h5py.File(file, "r+") as opened:
            del opened["model_weights/dense_1/dense_1/kernel:0"]
            change(opened["model_weights/dense_1"])
        assert said in refused(file.getvalue(), tmp_path)


def changed(data, rng):
    data = bytearray(data)
    way = rng.randrange(3)
    if way == 0:
        return bytes(data[: rng.randrange(len(data))])
    for _ in range(rng.choice((1, 2, 20))):
        start = rng.randrange(len(data) if way == 1 else min(len(data), 2_000))
        data[start : start + 1] = bytes([rng.randrange(256)])
    return bytes(data)


def check_changed(files, count, tmp_path):
    rng, refused, path = random.Random(0), 0, tmp_path / "changed"
    (tmp_path / "v.txt").write_text("".join(SYMBOLS), encoding="utf-8")
    for _ in range(count):
        path.write_bytes(changed(rng.choice(files), rng))
        try:
            read_model(path, ImportOptions(vocabulary=str(tmp_path / "v.txt"), seq_len=5))
        except JaxcharError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > count // 4


def test_tensors_with_changed_bytes_are_read_or_refused(tmp_path):
    check_changed([safetensors_file(Foreign("gru", (6,)).torch_arrays(), {})], 60, tmp_path)


def of_keras():
    pytest.importorskip("h5py")
    from jaxchar.interchange.keras_3 import keras_archive

    model = random_model("lstm", (6, 5), 4)
    archive = keras_archive(from_params(model.state, model.config), model.config)
    return [
        keras_1_or_2(Foreign("lstm", (6,)), keras=1),
        keras_1_or_2(Foreign("lstm", (6, 5), 4), keras=2),
        archive,
    ]


def test_a_few_files_of_keras_with_changed_bytes_are_read_or_refused(tmp_path):
    check_changed(of_keras(), 5, tmp_path)


@pytest.mark.slow
def test_many_files_with_changed_bytes_are_read_or_refused(tmp_path):
    check_changed([*of_keras(), ours()], 1_000, tmp_path)


def test_jaxchar_loads_its_own_files_alone(tmp_path):
    (tmp_path / "m.safetensors").write_bytes(safetensors_file(Foreign("lstm", (6,)).torch_arrays(), {}))
    with pytest.raises(JaxcharError, match="was not written by jaxchar"):
        jaxchar.load(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("code", "said"),
    [("import os; os.abort()", "crashes the HDF5 library"), ("while True: pass", "does not end")],
)
def test_a_file_that_crashes_or_hangs_the_library_is_refused_by_those_who_live_on(
    code, said, tmp_path, monkeypatch
):
    pytest.importorskip("h5py")
    (tmp_path / "child.py").write_text(code)
    monkeypatch.setattr(hdf5_child, "__file__", str(tmp_path / "child.py"))
    monkeypatch.setattr(hdf5, "SECONDS", 0.5)
    if "abort" in code:
        monkeypatch.setattr(hdf5, "SECONDS", 60)
    assert said in refused(hdf5.SIGNATURE, tmp_path)
