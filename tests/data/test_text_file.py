"""Files as people have them: encodings told, marked or named; packed files; files that are no text."""

import bz2
import codecs
import gzip
import io
import lzma
import re
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import promises
import pytest

from jaxchar.config import CorpusConfig
from jaxchar.data import text_file
from jaxchar.data.corpus import load_corpus
from jaxchar.data.text_file import NotTextError, decoded, iconv_name, unpacked
from jaxchar.errors import JaxcharError

TEXTS = {
    "German": "Als Gregor Samsa eines Morgens aus unruhigen Träumen erwachte, fand er sich in seinem Bett zu "
    "einem ungeheueren Ungeziefer verwandelt. Er lag auf seinem panzerartig harten Rücken und sah, wenn er "
    "den Kopf ein wenig hob, seinen gewölbten, braunen Bauch, auf dessen Höhe sich die Decke hielt.\n",
    "French": "Longtemps, je me suis couché de bonne heure. Parfois, à peine ma bougie éteinte, mes yeux se "
    "fermaient si vite que je n'avais pas le temps de me dire qu'il était temps de chercher le sommeil.\n",
    "Spanish": "En un lugar de la Mancha, de cuyo nombre no quiero acordarme, no ha mucho tiempo que vivía "
    "un hidalgo de los de lanza en astillero, adarga antigua, rocín flaco. ¿Qué más? ¡Nada! El año pasado.\n",
    "Polish": "Litwo! Ojczyzno moja! ty jesteś jak zdrowie. Ile cię trzeba cenić, ten tylko się dowie, kto "
    "cię stracił. Dziś piękność twą w całej ozdobie widzę i opisuję, bo tęsknię po tobie.\n",
    "Russian": "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему. "
    "Все смешалось в доме Облонских. Жена узнала, что муж был в связи с гувернанткой.\n",
    "Greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. Είναι "
    "προικισμένοι με λογική και συνείδηση.\n",
    "Chinese": "话说天下大势,分久必合,合久必分。周末七国分争,并入于秦。及秦灭之后,楚、汉分争,又并入于汉。\n",
    "traditional Chinese": "話說天下大勢,分久必合,合久必分。周末七國分爭,並入於秦。及秦滅之後,楚、漢分爭,"
    "又並入於漢。漢朝自高祖斬白蛇而起義,一統天下,後來光武中興,傳至獻帝,遂分為三國。\n",
    "Japanese": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗い"
    "じめじめした所でニャーニャー泣いていた事だけは記憶している。",
    "Korean": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 "
    "이성과 양심을 부여받았으며 서로 형제애의 정신으로 행동하여야 한다.\n",
}
LEGACY = {
    "German": ["cp1252", "latin-1", "iso8859-15", "mac-roman"],
    "French": ["cp1252", "mac-roman"],
    "Spanish": ["cp1252", "latin-1"],
    "Polish": ["cp1250", "iso8859-2"],
    "Russian": ["cp1251", "koi8-r", "cp866", "iso8859-5"],
    "Greek": ["cp1253", "iso8859-7"],
    "Chinese": ["gbk", "gb18030"],
    "traditional Chinese": ["big5"],
    "Japanese": ["shift_jis", "cp932", "euc-jp", "iso2022_jp"],
    "Korean": ["euc-kr", "cp949"],
}
WIDE = ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
CASES = [(language, encoding) for language in TEXTS for encoding in LEGACY[language] + WIDE]
GERMAN = TEXTS["German"]


def load(file: Path, **chosen):
    return load_corpus(CorpusConfig(corpus=str(file), **chosen))


def refusal(name: str, content: bytes, told: str | None = None) -> str:
    with pytest.raises(JaxcharError) as refused:
        decoded(name, unpacked(name, content), told)
    message = str(refused.value)
    assert "\n" not in message and "; " in message and repr(name) in message
    return message


# ---- encodings -----------------------------------------------------------------------------------


@promises.ENCODINGS
@pytest.mark.parametrize(("language", "encoding"), CASES, ids=map("-".join, CASES))
def test_an_untold_encoding_is_refused_with_the_option_and_the_command_that_read_it(
    language, encoding, tmp_path
):
    text, file = TEXTS[language], tmp_path / "a text.txt"
    file.write_bytes(text.encode(encoding))
    message = refusal(str(file), file.read_bytes())
    option, command = re.search(r"give encoding='(\S+)', or convert it: (iconv .*)$", message).groups()
    passage = re.search(r"which reads '(.*?)'; ", message)[1]
    assert passage in text and any(c > "\x7f" for c in passage)
    assert load(file, encoding=option).text == text
    if shutil.which("iconv"):
        subprocess.run(command, shell=True, check=True)
        assert (tmp_path / "a text.utf8.txt").read_bytes() == text.encode()


@promises.ENCODINGS
@pytest.mark.parametrize(("language", "encoding"), CASES, ids=map("-".join, CASES))
def test_a_told_encoding_is_read_exactly_and_recorded(language, encoding, tmp_path):
    content = TEXTS[language].encode(encoding)
    (tmp_path / "text").write_bytes(content)
    read = load(tmp_path / "text", encoding=encoding)
    assert read.text == TEXTS[language]
    assert read.encoding == codecs.lookup(encoding).name
    assert read.notice == ""


@promises.ENCODINGS
@pytest.mark.parametrize("told", [None, "cp1252", "gbk", "utf-16-le", "utf-8"])
@pytest.mark.parametrize("encoding", ["utf-8", *WIDE])
def test_a_byte_order_mark_decides_whatever_is_told(encoding, told):
    read = decoded("f", ("\ufeff" + GERMAN).encode(encoding), told)
    assert read[:2] == (GERMAN, encoding)
    assert (encoding.upper() in read.remark) == (encoding != "utf-8")


@promises.ENCODINGS
@pytest.mark.parametrize("told", ["cp1252", "gbk", "koi8-r", "utf-16-le", "utf-32-be", "iso2022_jp"])
def test_what_is_utf_8_beyond_doubt_is_read_as_utf_8(told):
    """So that one --encoding serves a folder of old files and new ones."""
    text, encoding, remark = decoded("f", GERMAN.encode(), told)
    assert (text, encoding) == (GERMAN, "utf-8")
    assert remark == f"Read as UTF-8, which it is, not as {told}"


def test_utf_8_told_is_utf_8_and_nothing_else():
    assert decoded("f", GERMAN.encode(), "utf-8") == (GERMAN, "utf-8", "")
    assert "is not UTF-8: byte 0xe4 at position 47" in refusal("f", GERMAN.encode("cp1252"), "utf-8")
    assert decoded("f", b"\0" * 100, "utf-8").text == "\0" * 100  # what looks binary, but the user insists


@promises.ENCODINGS
@pytest.mark.parametrize("told", ["utf-16", "utf-32"])
def test_an_encoding_without_its_byte_order_needs_a_mark(told):
    message = refusal("f", GERMAN.encode(f"{told}-be"), told)
    assert f"has no byte-order mark, which encoding={told!r} needs; it looks like {told}-be" in message


@promises.ENCODINGS
def test_a_byte_that_the_told_encoding_lacks_is_named_with_the_encoding_that_has_it():
    message = refusal("f", TEXTS["Japanese"].encode("cp932"), "ascii")
    assert (
        "cannot be read as ascii, as encoding says: byte 0x8c at position 0; it looks like cp932" in message
    )


@promises.ENCODINGS
def test_an_encoding_that_is_probably_wrong_is_doubted():
    remark = decoded("f", TEXTS["Russian"].encode("cp1251"), "latin-1").remark
    assert remark == "Read as latin-1, as --encoding says, though it looks like cp1251"


@promises.ENCODINGS
@pytest.mark.parametrize("content", [b"caf\xe9", b"\xff", b"\x80abc" * 3])
def test_a_guess_on_a_few_bytes_is_not_called_more(content):
    assert re.search("it may be|could not be detected", refusal("f", content))


@pytest.mark.parametrize(
    ("typed", "name"),
    [("CP1252", "cp1252"), ("windows-1252", "cp1252"), ("Latin1", "iso8859-1"), ("UTF-8-SIG", "utf-8")],
)
def test_an_encoding_may_be_told_by_any_of_its_names(typed, name):
    assert CorpusConfig(encoding=typed).encoding == name


@promises.ANY_SETTING
@pytest.mark.parametrize(
    ("typed", "hint"),
    [("cp125", "perhaps .*cp125"), ("big-5", "perhaps .*big5"), ("nope", "for instance cp1252")]
    + [(name, "") for name in ("hex", "idna", "unicode_escape", "a\0b", "", "žluť")],
)
def test_a_name_that_is_no_encoding_is_refused_with_a_hint(typed, hint):
    with pytest.raises(JaxcharError, match=rf"(?s)encoding must be the name of a text encoding .*{hint}"):
        CorpusConfig(encoding=typed)


@pytest.mark.skipif(not shutil.which("iconv"), reason="needs iconv")
def test_iconv_knows_every_name_that_is_told():
    names = {codecs.lookup(e).name for encodings in LEGACY.values() for e in encodings}
    for encoding in {*names, *WIDE, *text_file.ICONV_NAMES, "cp1254", "cp1255", "mac-cyrillic", "johab"}:
        subprocess.run(["iconv", "-f", iconv_name(encoding), "-t", "UTF-8"], input=b"", check=True)


# ---- files that are no text ----------------------------------------------------------------------


def zipped(*entries: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for entry in entries:
            name, _, content = entry.partition("=")
            archive.writestr(name, content or "abc")
    return packed.getvalue()


def tarred() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"))
    return packed.getvalue()


NOISE = bytes((i * i * 31 + i * 7) % 251 for i in range(2_000))
NOT_TEXT = {
    "PDF": (b"%PDF-1.7\nwords", "a PDF document, not text; save it as text"),
    "RTF": (b"{\\rtf1 words}", "an RTF document"),
    "doc": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 99, "an old Office document"),
    "docx": (
        zipped("[Content_Types].xml", "word/document.xml"),
        "an Office document .*save it as plain text",
    ),
    "epub": (zipped("mimetype=application/epub+zip"), "an EPUB book"),
    "odt": (zipped("mimetype=application/vnd.oasis.opendocument.text"), "an OpenDocument file"),
    "zip": (zipped("a.txt"), "a zip archive, not text; unpack it"),
    "tar": (tarred(), "a tar archive"),
    "tar.gz": (gzip.compress(tarred()), "a tar archive"),
    "twice": (gzip.compress(gzip.compress(b"abc")), "packed twice"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + NOISE, "a 7z archive"),
    "zstd": (b"\x28\xb5\x2f\xfd" + NOISE, "a Zstandard file, not text; unpack it first: zstd -d"),
    "png": (b"\x89PNG\r\n\x1a\n" + NOISE, "a file of type image/png"),
    "jpeg": (b"\xff\xd8\xff\xe0" + NOISE, "a file of type image/jpeg"),
    "pyc": (b"\xa7\r\r\n" + b"\0" * 12 + NOISE, "compiled Python"),
    "program": (b"\x7fELF\x02\x01\x01" + b"\0" * 99 + NOISE, "a file of type application/x-elf"),
    "NULs": (b"abcdefg\0" * 99, r"binary \(12% control characters\), not text; .*encoding='utf-8'"),
    "binary": (b"\x00\x01\xff\xfe" + NOISE, "binary"),
}


@promises.FILES
@pytest.mark.parametrize(("content", "said"), NOT_TEXT.values(), ids=NOT_TEXT)
def test_a_file_that_is_no_text_is_refused_by_what_it_is(content, said):
    with pytest.raises(NotTextError, match=said):
        decoded("f", unpacked("f", content))


@promises.FILES
@pytest.mark.parametrize(
    "text",
    ["BM rabbit", "ID3 is a tag", "MZ", "BZh", "BZh9 1AY", "]\0\0", "PK is here", "RIFF", "%PDF", "~{"],
)
def test_a_text_may_begin_as_other_files_do(text):
    assert decoded("f", unpacked("f", text.encode())).text == text


# ---- packed files --------------------------------------------------------------------------------

PACKERS = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda content: lzma.compress(content, lzma.FORMAT_ALONE),
}


@promises.FILES
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
def test_a_packed_text_is_the_text_whatever_its_name(pack, encoding, tmp_path):
    (tmp_path / "plain").write_bytes(GERMAN.encode(encoding))
    (tmp_path / "packed.txt").write_bytes(pack(GERMAN.encode(encoding)))
    plain, packed = (load(tmp_path / name, encoding="cp1252") for name in ("plain", "packed.txt"))
    assert packed.text == GERMAN
    assert packed[1:3] == plain[1:3]  # the SHA-256, too: a run goes on with the text packed or not


@promises.FILES
@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz"])
def test_members_one_after_the_other_are_one_text(name):
    pack = PACKERS[name]
    assert unpacked("f", pack(b"one ") + pack(b"") + pack(b"two")) == b"one two"


@promises.FILES
@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
def test_a_packed_file_cut_short_is_refused(pack):
    whole = pack(GERMAN.encode() * 9)
    for size in (len(whole) // 2, len(whole) - 1):
        assert re.search("the .* file 'f' is damaged: .*; get it again", refusal("f", whole[:size]))


@promises.FILES
@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz"])
def test_a_damaged_packed_file_is_refused(name):
    whole = bytearray(PACKERS[name](GERMAN.encode() * 9))
    whole[len(whole) // 2] ^= 0x55
    assert f"the {name} file 'f' is damaged: " in refusal("f", bytes(whole))


@promises.FILES
@pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)
def test_a_file_that_unpacks_without_end_is_refused_before_it_fills_the_memory(pack, monkeypatch):
    monkeypatch.setattr(text_file, "BOMB_BYTES", 100_000)
    monkeypatch.setattr(text_file, "CHUNK", 10_000)
    bomb = pack(b"\0" * 10_000_000)
    read = int(re.search(r"unpacks to more than ([\d,]+), which", refusal("f", bomb))[1].replace(",", ""))
    assert read < 5_000_000


def test_a_pipe_may_be_packed(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(GERMAN.encode()))))
    assert load_corpus(CorpusConfig(corpus="-")).text == GERMAN


@pytest.mark.parametrize(
    "text",
    [
        "h\u00e9llo caf\u00e9 na\u00efve d\u00e9j\u00e0 vu, \u00e0 la carte, fa\u00e7ade\n" * 50,
        "The caf\u00e9 was closed, and na\u00efve tourists stood in front of the fa\u00e7ade.\n" * 20,
    ],
)
def test_accents_among_latin_letters_are_not_taken_for_another_alphabet(tmp_path, text):
    file = tmp_path / "l1.txt"
    file.write_bytes(text.encode("cp1252"))
    with pytest.raises(JaxcharError, match=r"encoding='?cp1252"):
        load_corpus(CorpusConfig(corpus=str(file)))
