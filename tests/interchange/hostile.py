"""Hostile files by format: those that somebody made on purpose, and then endless ones with changed bytes."""

import collections
import io
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np
from foreign import SYMBOLS, Foreign, V, random_model
from old_keras import keras_file

from jaxchar.interchange.ours import texts_of
from jaxchar.interchange.parameters import from_params
from jaxchar.interchange.tensors import safetensors_file
from jaxchar.interchange.torch_state import state_dict

VOCABULARY = json.dumps(SYMBOLS).encode()
WORDS = dict(enumerate(SYMBOLS))


class Case(NamedTuple):
    """What is imported."""

    label: str
    model: bytes
    vocabulary: bytes = VOCABULARY
    is_made: bool = True  # on purpose, so that it must be refused
    gate: Literal["sigmoid"] | None = None  # given where the file cannot say it


class Canary:
    """Makes a pickle that writes a file as soon as it is loaded."""

    def __init__(self, path: str, function: Callable = exec) -> None:
        self.path, self.function = path, function

    def __reduce__(self):
        text = f"open({self.path!r}, 'w')"
        return (self.function, (self.path, "w") if self.function is open else (text,))


# ---- bytes that are changed ----------------------------------------------------------------------


def changed(data: bytes, rng: random.Random) -> bytes:
    """Return a file of another length, or with other bytes, most of them near its beginning."""
    end = rng.choice((64, 512, 2_000, len(data)))
    place = rng.randrange(min(end, len(data)))
    way = rng.randrange(6)
    if way == 0:
        return data[: rng.randrange(len(data))]
    if way == 1:
        return data[:place] + rng.randbytes(rng.choice((1, 8, 64))) + data[place:]
    if way == 2:
        huge = struct.pack("<Q", rng.choice((2**31 - 1, 2**32, 2**47, 2**63, 2**64 - 1)))
        return data[:place] + huge + data[place + 8 :]
    if way == 3:
        return data[:place] + bytes(rng.choice((4, 40))) + data[place + 40 :]
    if way == 4:
        return data[:place] + data[rng.randrange(len(data)) :]
    many = bytearray(data)
    for _ in range(rng.choice((1, 3, 30))):
        many[rng.randrange(min(end, len(data)))] = rng.randrange(256)
    return bytes(many)


def endless(name: str, bases: list[Case], in_vocabulary: bool) -> Iterator[Case]:
    """Yield the bases with changed bytes, the same ones each time."""
    rng = random.Random(name)
    for number in range(100_000):
        base = rng.choice(bases)
        label = f"{name}, changed bytes {number}"
        if in_vocabulary:
            yield base._replace(label=label, vocabulary=changed(base.vocabulary, rng), is_made=False)
        else:
            yield base._replace(label=label, model=changed(base.model, rng), is_made=False)


# ---- HDF5 ----------------------------------------------------------------------------------------


def described(change: Callable) -> Callable:
    """Return what changes the description of a model in a file."""

    def edit(file):
        if "model_config" not in file.attrs:
            raise NotImplementedError
        model = json.loads(file.attrs["model_config"])
        change(model["config"])
        del file.attrs["model_config"]
        file.attrs["model_config"] = json.dumps(model)

    return edit


def with_gates_of_code(layers: list) -> None:
    for layer in layers:
        layer["config"].update(inner_activation={"class_name": "exec"}, recurrent_activation="exec")


def replaced(make: Callable) -> Callable:
    """Return what puts something else in the place of a file's first array."""

    def edit(file):
        found = []
        file.visititems(lambda path, member: found.append(path) if hasattr(member, "shape") else None)
        path = next(path for path in found if not path.startswith("optimizer"))
        shape = file[path].shape
        del file[path]
        make(file, path, shape)

    return edit


def hdf5_edits() -> dict[str, Callable]:
    """Return what is done to HDF5 files on purpose, by what it is."""
    import h5py

    passwords = "/etc/passwd"

    def virtual(file, path, shape):
        layout = h5py.VirtualLayout(shape, np.float32)
        layout[:] = h5py.VirtualSource(passwords, "x", shape)
        file.create_virtual_dataset(path, layout)

    def packed(file, path, shape):
        file.create_dataset(path, (1 << 14, 1 << 14), "f4", chunks=(1 << 12, 1 << 12), compression="gzip")

    def turning(file):
        file["again"] = file["/"]

    def deep(file):
        file.create_group("/".join("a" * 200))

    def laughing(file):
        long = np.array("ha" * 100_000, h5py.string_dtype())
        for number in range(300):
            file.create_group(f"g{number}").attrs["weight_names"] = long

    def many(file):
        for number in range(25_000):
            file.create_group(f"g{number}")

    def bracketed(file):
        if "model_config" not in file.attrs:
            raise NotImplementedError
        file.attrs["model_config"] = "[" * 60_000

    code = {"class_name": "Lambda", "config": {"name": "l", "function": ["4wEAAAA=", None, None]}}
    return {
        "a link to another file": replaced(
            lambda f, p, s: f.__setitem__(p, h5py.ExternalLink(passwords, "x"))
        ),
        "a link inside": replaced(lambda f, p, s: f.__setitem__(p, h5py.SoftLink("/"))),
        "an array in another file": replaced(
            lambda f, p, s: f.create_dataset(p, s, "f4", external=[(passwords, 0, 4 * int(np.prod(s)))])
        ),
        "an array made of another file": replaced(virtual),
        "an array that claims a terabyte": replaced(
            lambda f, p, s: f.create_dataset(p, (1 << 19, 1 << 19), "f4", chunks=(8, 8))
        ),
        "a gigabyte of zeros, packed": replaced(packed),
        "whole numbers": replaced(lambda f, p, s: f.__setitem__(p, np.zeros(s, int))),
        "texts as numbers": replaced(lambda f, p, s: f.__setitem__(p, ["os.system"] * 3)),
        "no number": replaced(lambda f, p, s: f.__setitem__(p, np.full(s, np.nan, "f4"))),
        "one number": replaced(lambda f, p, s: f.__setitem__(p, np.float32(1))),
        "five dimensions": replaced(lambda f, p, s: f.__setitem__(p, np.zeros((1,) * 5, "f4"))),
        "a group in itself": turning,
        "groups in groups": deep,
        "60 MB of names": laughing,
        "25,000 groups": many,
        "brackets without end": bracketed,
        "a layer of code": described(lambda layers: layers.insert(0, code)),
        "a layer of a class of its own": described(lambda layers: layers[0].update(class_name="os.system")),
        "a gate that is code": described(with_gates_of_code),
        "a description of something else": described(lambda layers: layers.clear()),
    }


def edited(name: str, base: bytes, edits: dict[str, Callable]) -> Iterator[Case]:
    """Yield an HDF5 file with each of the edits that suit it."""
    import h5py

    for label, edit in edits.items():
        file = io.BytesIO(base)
        try:
            with h5py.File(file, "r+") as opened:
                edit(opened)
        except NotImplementedError:
            continue
        yield Case(f"{name}, {label}", file.getvalue())


def keras_1(canary: str) -> tuple[list[Case], list[Case]]:
    base = keras_file(Foreign("lstm", (6,)), 1, version="1.2.2", steps=5)
    return list(edited("Keras 1", base, hdf5_edits())), [Case("", base)]


def keras_2(canary: str) -> tuple[list[Case], list[Case]]:
    base = keras_file(Foreign("lstm", (6, 5), 4), 2, version="2.2.4", wrapped=False)
    return list(edited("Keras 2", base, hdf5_edits())), [Case("", base)]


# ---- archives ------------------------------------------------------------------------------------


def archive_of_ours() -> dict[str, bytes]:
    """Return the members of a .keras file."""
    from jaxchar.interchange.keras_3 import keras_archive

    model = random_model("lstm", (6, 5), 4)
    data = keras_archive(from_params(model.state, model.config), model.config)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return written.getvalue()


def weights_of_keras_3(canary: str) -> tuple[list[Case], list[Case]]:
    base = archive_of_ours()["model.weights.h5"]
    cases = list(edited("Keras 3 weights", base, hdf5_edits()))
    return [case._replace(gate="sigmoid") for case in cases], [Case("", base, gate="sigmoid")]


def keras_3(canary: str) -> tuple[list[Case], list[Case]]:
    good = archive_of_ours()
    layers = json.loads(good["config.json"])
    layers["config"]["layers"].insert(
        1, {"class_name": "Lambda", "config": {"name": "l", "function": "exec"}}
    )
    outside = "../" * 8 + canary.lstrip("/")
    secret = zipped(good).replace(b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\x01\0")
    huge = zipped(good).replace(struct.pack("<L", len(good["config.json"])), struct.pack("<L", 2**32 - 2))
    made = {
        "a bomb": zipped({**good, "model.weights.h5": bytes(200 << 20)}),
        "a bomb of JSON": zipped({**good, "config.json": b" " * (100 << 20)}),
        "a bomb beside the model": zipped({**good, "other": bytes(200 << 20)}),
        "brackets without end": zipped({**good, "config.json": b"[" * 200_000}),
        "members that climb, and no model": zipped({outside: b"x", canary: b"x"}),
        "members that climb, and no weights": zipped({outside: b"x", **good, "model.weights.h5": b"x"}),
        "a layer of code": zipped({**good, "config.json": json.dumps(layers).encode()}),
        "a member that claims 4 GB": huge,
        "a password": secret,
        "no description": zipped({"model.weights.h5": good["model.weights.h5"]}),
        "a list as metadata": zipped({**good, "metadata.json": b"[" * 9}),
        "numbers as description": zipped({**good, "config.json": b"1e999"}),
        "an archive in an archive": zipped({**good, "model.weights.h5": zipped(good)}),
    }
    return [Case(f"Keras 3, {label}", data) for label, data in made.items()], [
        Case("", zipped(good)),
        Case("", zipped(good, zipfile.ZIP_STORED)),
    ]


# ---- tensors -------------------------------------------------------------------------------------


def ours() -> bytes:
    model = random_model("lstm", (6, 5), 4)
    return safetensors_file(
        state_dict(from_params(model.state, model.config)), texts_of(model.config, model.vocabulary)
    )


def with_header(data: bytes, change: Callable) -> bytes:
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def with_settings(**settings) -> bytes:
    """Return a file of ours that claims other settings."""

    def change(header):
        record = json.loads(header["__metadata__"]["jaxchar"])
        record["config"].update(settings)
        header["__metadata__"]["jaxchar"] = json.dumps(record)

    return with_header(ours(), change)


def safetensors(canary: str) -> tuple[list[Case], list[Case]]:
    theirs = safetensors_file(Foreign("gru", (6,)).torch_arrays(), {})

    def bias(**values):
        return with_header(theirs, lambda header: header["decoder.bias"].update(values))

    def text(value):
        return with_header(theirs, lambda header: header.update(__metadata__={"jaxchar": value}))

    made = {
        "a bias of 2^40 numbers": bias(shape=[2**40]),
        "a bias of no numbers, twice": bias(shape=[0, 2**62]),
        "offsets beyond the file": bias(data_offsets=[0, 2**60]),
        "offsets before the file": bias(data_offsets=[-4, 8]),
        "numbers of one bit": bias(dtype="BOOL"),
        "numbers of no type": bias(dtype="exec"),
        "a header of 2^63 bytes": struct.pack("<Q", 2**63) + theirs[8:],
        "a header of 90 MB that is not there": struct.pack("<Q", 90_000_000) + theirs[8:],
        "a text that is a number": text(3),
        "brackets without end": text("[" * 100_000),
        "no vocabulary": text('{"config": {}}'),
        "sizes without end": text('{"config": {"hidden_size": 9e99}, "vocabulary": []}'),
        "100 huge layers": text('{"config": {"hidden_size": 60000, "num_layers": 100}, "vocabulary": ["a"]}'),
        "a batch of a billion": with_settings(batch_size=10**9, seq_len=10**6),
        "a batch of a billion that carries its state": with_settings(batch_size=10**9),
        "a cell of its own": with_settings(cell="exec"),
        "other layers": with_settings(hidden_size=[10**6, 10**6]),
        "an odd type": with_settings(dtype="object"),
        "a setting from elsewhere": with_settings(corpus={"__class__": "os.system"}),
    }
    return [Case(f"safetensors, {label}", data) for label, data in made.items()], [
        Case("", theirs),
        Case("", ours()),
    ]


def torch_file(canary: str) -> tuple[list[Case], list[Case]]:
    """Return files of PyTorch. Without it, most are refused because it is missing."""
    evil = [
        pickle.dumps({"a": Canary(canary, f)}, protocol) for f in (exec, eval, open) for protocol in (2, 4)
    ]
    made = {f"code in a pickle {number}": data for number, data in enumerate(evil)}
    made |= {
        f"code in an archive {number}": zipped({"m/data.pkl": data, "m/version": b"3"}, zipfile.ZIP_STORED)
        for number, data in enumerate(evil)
    }
    made |= {
        "a bomb": zipped({"m/data.pkl": evil[0], "m/data/0": bytes(200 << 20)}),
        "members that climb": zipped({"../" * 8 + canary.lstrip("/"): b"x", "m/data.pkl": b"x"}),
        "a number": pickle.dumps(3, 2),
        "a memory of 4 GB": b"\x80\x02r\xff\xff\xff\xff.",
        "code of TorchScript": zipped(
            {"m/data.pkl": b"\x80\x02}.", "m/code/a.py": b"x", "m/constants.pkl": b""}
        ),
    }
    bases = [Case("", made["code in an archive 0"]), Case("", evil[0])]
    try:
        import torch
    except ImportError:
        return [Case(f"PyTorch, {label}", data) for label, data in made.items()], bases

    def saved(content, **options):
        written = io.BytesIO()
        torch.save(content, written, **options)
        return written.getvalue()

    good = {name: torch.from_numpy(array) for name, array in Foreign("lstm", (6,)).torch_arrays().items()}
    made |= {
        "a tensor of one number that claims 10^9": saved(
            {**good, "decoder.bias": torch.zeros(1).expand(10**9)}
        ),
        "a sparse tensor": saved({**good, "decoder.bias": torch.zeros(V).to_sparse()}),
        "whole numbers": saved({**good, "decoder.bias": torch.zeros(V, dtype=torch.int64)}),
        "a module": saved(torch.nn.Linear(2, 2)),
        "a list": saved([torch.zeros(3)]),
    }
    bases += [
        Case("", saved(good)),
        Case("", saved(good, _use_new_zipfile_serialization=False)),
    ]
    return [Case(f"PyTorch, {label}", data) for label, data in made.items()], bases


# ---- vocabularies --------------------------------------------------------------------------------


def small_model() -> bytes:
    return safetensors_file(Foreign("lstm", (6,)).torch_arrays(), {})


def nested(wrap: Callable, times: int, inside):
    for _ in range(times):
        inside = wrap(inside)
    return inside


def pickles(canary: str) -> tuple[list[Case], list[Case]]:
    in_itself: list = []
    in_itself.append(in_itself)
    made: dict[str, bytes] = {}
    for protocol in range(6):
        for function in (exec, eval, open):
            content = {0: Canary(canary, function)}
            made[f"{function.__name__} of protocol {protocol}"] = pickle.dumps(content, protocol)
        made[f"a list in itself {protocol}"] = pickle.dumps(in_itself, protocol)
    for protocol in (2, 5):
        made[f"a number without end {protocol}"] = pickle.dumps([7**9_999] * V, protocol)
        made[f"a key without end {protocol}"] = pickle.dumps({7**9_999: "a"}, protocol)
    laughs = nested(lambda inside: (inside,) * 20, 40, "ha")
    made |= {
        "a billion laughs": pickle.dumps([laughs] * V),
        "a billion laughs in a table": pickle.dumps({0: laughs}),
        "a billion laughs as a key": b"\x80\x02}" + pickled_laughs(60) + b"K\x00s.",
        "a billion laughs by copies": b"\x80\x02U\x02ha" + b"2\x86" * 60 + b".",
        "tables in tables": pickled_tables(4_000),
        "another class": pickle.dumps(collections.OrderedDict(WORDS)),
        "numbers of NumPy": pickle.dumps({i: np.int64(3) for i in range(V)}),
        "a memory of 4 GB": b"\x80\x04r\xff\xff\xff\xff.",
        "20,000 lists": b"\x80\x04" + b"]" * 20_000 + b".",
        "a text of 2 GB": b"\x80\x04X\xff\xff\xff\x7f.",
        "a text of 2^63": b"\x80\x04\x8d" + b"\xff" * 8 + b".",
        "a number of 2 GB": b"\x80\x04\x8b\xff\xff\xff\x7f.",
        "a call": b"\x80\x02cos\nsystem\n(X\x04\x00\x00\x00truetR.",
        "a call by a name on the stack": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        "an extension": b"\x80\x02\x82\x01.",
        "something outside": b"\x80\x02Pname\n.",
        "an instance": b"(ios\nsystem\n.",
        "a second pickle behind": pickle.dumps(["x"]) + pickle.dumps({0: Canary(canary)}),
        "bytes of Python 2": b"(dp0\nI0\nS'\\xe9'\np1\ns.",
        "half a character": pickle.dumps([*SYMBOLS[:-1], "\ud800"]),
        "nothing": b"\x80\x04",
    }
    cases = [Case(f"pickle, {label}", small_model(), data) for label, data in made.items()]
    return cases, [Case("", small_model(), pickle.dumps(WORDS, protocol)) for protocol in range(6)]


def pickled_laughs(depth: int) -> bytes:
    """Return instructions that make a tuple of 3^depth texts, each level out of three of the one below."""
    return b"U\x02haq\x01" + b"".join(
        b"h" + bytes([level]) + b"h" + bytes([level]) + b"\x87q" + bytes([level + 1])
        for level in range(1, depth)
    )


def pickled_tables(depth: int) -> bytes:
    """Return the pickle of {"stoi": {"stoi": ...}}, which pickle itself is too deep to write."""
    return b"\x80\x02" + b"}U\x04stoi" * depth + b"]" + b"s" * depth + b"."


def json_files(canary: str) -> tuple[list[Case], list[Case]]:
    table = json.dumps({symbol: number for number, symbol in WORDS.items()})
    made = {
        "brackets without end": "[" * 100_000,
        "tables in tables": '{"stoi": ' * 900 + "{}" + "}" * 900,
        "lists in lists": "[" * 900 + "]" * 900,
        "a number without end": "[" + "9" * 20_000 + "]",
        "a key without end": '{"' + "9" * 20_000 + '": "a"}',
        "an id that is infinite": table.replace("3", "1e999"),
        "an id that is no number": table.replace("3", "NaN"),
        "an id that is true": table.replace("1", "true"),
        "an id below zero": table.replace("3", "-3"),
        "an id that is huge": table.replace("3", str(2**64)),
        "two characters": json.dumps([*SYMBOLS[:-1], "ab"]),
        "no character": json.dumps([*SYMBOLS[:-1], ""]),
        "half a character": json.dumps([*SYMBOLS[:-1], "\ud800"]),
        "the same twice": json.dumps([*SYMBOLS[:-1], SYMBOLS[0]]),
        "null": json.dumps([*SYMBOLS[:-1], None]),
        "a long text": json.dumps([*SYMBOLS[:-1], "x" * 10_000_000]),
        "many lines": json.dumps([*SYMBOLS[:-1], "x\n" * 1_000]),
        "one too many": json.dumps([*SYMBOLS, "x"]),
        "a number": "3",
        "an object of objects": '{"a": {"b": {}}}',
        "zeros": "\0" * (1 << 24) + "\0\0",
    }
    cases = [Case(f"JSON, {label}", small_model(), data.encode()) for label, data in made.items()]
    cases.append(Case("JSON, UTF-16", small_model(), table.encode("utf-16")))
    return cases, [Case("", small_model(), VOCABULARY), Case("", small_model(), table.encode())]


# What is made on purpose, and whole files whose bytes are changed; whether those are of the vocabulary.
FORMATS: dict[str, tuple[Callable[[str], tuple[list[Case], list[Case]]], bool]] = {
    "Keras 1": (keras_1, False),
    "Keras 2": (keras_2, False),
    "Keras 3 weights": (weights_of_keras_3, False),
    "Keras 3": (keras_3, False),
    "safetensors": (safetensors, False),
    "PyTorch": (torch_file, False),
    "pickle": (pickles, True),
    "JSON": (json_files, True),
}


def hostile(name: str, canary: str) -> Iterator[Case]:
    """Yield hostile files of a format without end: those made on purpose first.

    Args:
        name: one of FORMATS.
        canary: a path at which a file appears where code of one of them is run.
    """
    make, in_vocabulary = FORMATS[name]
    made, bases = make(canary)
    yield from made
    yield from endless(name, bases, in_vocabulary)
