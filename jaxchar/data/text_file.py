"""Turn the bytes of a file into text: unpack and decode them, or refuse them and say what to do.

UTF-8 is read as it is, and a file with a byte-order mark as the mark says. Any other encoding must be given
by the user: it is detected only to name it in the message, because a model trains on wrongly decoded text
without any error.
"""

import bz2
import codecs
import gzip
import io
import lzma
import os
import re
import shlex
import unicodedata
import zlib
from collections.abc import Callable
from typing import IO, Any, NamedTuple

from jaxchar.errors import JaxcharError

CHUNK = 1 << 20  # bytes unpacked at a time
SAMPLE = 1 << 16  # bytes that are enough to recognise a file; a multiple of 4
WORD_LETTER = re.compile(
    r"([A-Za-z]?)([^\x00-\x7f\W\d_])"
)  # a letter beyond ASCII, and an ASCII one before it
MOST_MIXED = 0.5  # share of non-ASCII letters that may follow a Latin letter and be of another alphabet
PROBABLE = 0.2  # confidence of the detector from which its answer is called probable
SURE = 0.5  # confidence from which it may contradict the encoding that the user gave
FEWEST_BYTES = 16  # of a file whose control characters can mean UTF-16 or UTF-32
WIDE_CONTROLS = (
    0.25  # share of control characters in what is valid UTF-8, but UTF-16: every other byte is one
)
MOST_CONTROLS = 0.1  # share of control characters that a text of some length may have
BOMB_BYTES, BOMB_RATIO = 10**8, 200  # no text of this size shrinks by this ratio when it is packed

MARKS = (  # UTF-32 first: its little-endian mark begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
WIDE = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
# Encodings that a file without a byte-order mark may have, with the number of bytes of a unit.
WITHOUT_MARK = (("utf-32-le", 4), ("utf-32-be", 4), ("utf-16-le", 2), ("utf-16-be", 2))
# Usual encodings, named instead of the superset that the detector finds if both give the same text.
USUAL = {
    "gb18030": ("gbk",),
    "cp949": ("euc_kr",),
    "big5hkscs": ("big5",),
    "euc_jis_2004": ("euc_jp",),
    "iso2022_jp_2": ("iso2022_jp",),
    "cp437": ("cp850",),
}
ICONV_NAMES = {
    "mac-roman": "MACINTOSH",
    "big5hkscs": "BIG5-HKSCS",
    "euc_jis_2004": "EUC-JISX0213",
    "shift_jis": "SHIFT_JIS",
    "iso2022_jp": "ISO-2022-JP",
    "iso2022_jp_2": "ISO-2022-JP-2",
    "iso2022_kr": "ISO-2022-KR",
}

# How packed files begin; "BZh" or "]" alone may begin a text.
PACKED: tuple[tuple[re.Pattern[bytes], str, Callable[[IO[bytes]], Any]], ...] = (
    (re.compile(rb"\x1f\x8b\x08"), "gzip", gzip.open),
    (re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"), "bzip2", bz2.open),
    (re.compile(rb"\xfd7zXZ\x00"), "xz", lzma.open),
    (re.compile(rb"\]\x00\x00..(?:\xff{8}|.{5}\x00{3})", re.DOTALL), "lzma", lzma.open),
)

# How files that are not text begin, what they are, and how to get text from them.
UNPACK = "unpack it, and give the text files in it"
SAVE = "open it in its program and save it as plain text (.txt, UTF-8)"
NOT_TEXT = (
    (re.compile(rb"%PDF-\d"), "a PDF document", "save it as text first, for instance with pdftotext"),
    (re.compile(rb"\{\\rtf"), "an RTF document", SAVE),
    (re.compile(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), "an old Office document", SAVE),
    (
        re.compile(rb"PK\x03\x04.{26}mimetypeapplication/epub", re.DOTALL),
        "an EPUB book",
        "save it as text first, for instance with pandoc -t plain",
    ),
    (re.compile(rb"PK\x03\x04.{26}mimetypeapplication/vnd\.oasis", re.DOTALL), "an OpenDocument file", SAVE),
    (
        re.compile(rb"PK\x03\x04.{,4000}(?:word|xl|ppt)/", re.DOTALL),
        "an Office document (.docx or alike)",
        SAVE,
    ),
    (re.compile(rb"PK(?:\x03\x04|\x05\x06)"), "a zip archive", UNPACK),
    (re.compile(rb".{257}ustar", re.DOTALL), "a tar archive", UNPACK),
    (re.compile(rb"7z\xbc\xaf\x27\x1c"), "a 7z archive", UNPACK),
    (re.compile(rb"Rar!\x1a\x07"), "a RAR archive", UNPACK),
    (re.compile(rb"\x28\xb5\x2f\xfd"), "a Zstandard file", "unpack it first: zstd -d"),
    (re.compile(rb"\x04\x22\x4d\x18"), "an LZ4 file", "unpack it first: lz4 -d"),
    (re.compile(rb"\x1f\x9d"), "a compress file (.Z)", "unpack it first: uncompress"),
    (re.compile(rb"SQLite format 3\x00"), "a SQLite database", "export its text first"),
    (re.compile(rb"..\r\n\x00{4}|..\r\n[\x01-\x03]\x00{3}", re.DOTALL), "compiled Python", "leave it out"),
)
WHITE = b"\t\n\r\f\v\x08\x1b"  # control characters that texts have: backspace and escape in terminal logs
CONTROLS = bytes(range(32))
SHIFTS = re.compile(rb"\x1b\$|~\{")  # to the two-byte characters of ISO-2022 and HZ, which are ASCII bytes
NOT_CONTROL = bytes(byte for byte in range(256) if (byte >= 32 and byte != 127) or byte in WHITE)


class NotTextError(JaxcharError):
    """A file is not text; a folder leaves it out."""

    def __init__(self, name: str, kind: str, remedy: str) -> None:
        """Take the file's name, what it is in a few words, and what to do."""
        super().__init__(f"{name!r} is {kind}, not text; {remedy}")
        self.kind = kind


class Decoded(NamedTuple):
    """The text of a file."""

    text: str
    encoding: str  # Python's name of it
    remark: str = ""  # what the user should know about the file, or nothing


# ---- unpacking -----------------------------------------------------------------------------------


def unpacked(name: str, content: bytes) -> bytes:
    """Return the content of a gzip, bzip2, xz or lzma file, by its first bytes; other files as they are.

    Raises:
        JaxcharError: it is damaged, or unpacks to more than any text would.
    """
    for beginning, kind, opened in PACKED:  # noqa: B007, used below
        if beginning.match(content):
            break
    else:
        return content
    parts, size = [], 0
    try:
        with opened(io.BytesIO(content)) as file:
            while part := file.read(CHUNK):
                parts.append(part)
                size += len(part)
                _check_unpacked_size(name, kind, size, len(content))
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        reason = "it ends too early" if isinstance(error, EOFError) else str(error)
        raise JaxcharError(
            f"the {kind} file {name!r} is damaged: {reason}; get it again, or give the unpacked text"
        ) from error
    return b"".join(parts)


def _check_unpacked_size(name: str, kind: str, size: int, packed: int) -> None:
    too_much = size > BOMB_BYTES and size > BOMB_RATIO * packed
    if too_much or size > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2:
        raise JaxcharError(
            f"the {kind} file {name!r} of {packed:,} bytes unpacks to more than {size:,}, which is too much "
            "to read; unpack it, and give a part of it"
        )


# ---- decoding ------------------------------------------------------------------------------------


def decoded(name: str, content: bytes, told: str | None = None) -> Decoded:
    """Return the text of a file's bytes, without a byte-order mark; line endings stay as they are.

    Args:
        name: the file, for messages.
        content: its bytes, unpacked.
        told: the encoding that the user gave, for files without a byte-order mark that are not UTF-8;
            None: such files are refused.

    Raises:
        NotTextError: it is not a text file.
        JaxcharError: it has another encoding, which the message names if it can be detected.
    """
    _check_kind(name, content)
    mark, marked = next(((m, e) for m, e in MARKS if content.startswith(m)), (b"", None))
    if marked is not None:
        return _as_marked(name, content, mark, marked)
    if told not in (None, "utf-8"):
        return _as_told(name, content, told)
    if told is None:
        _check_real_utf8(name, content)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(name, content, error) from error
    if told is None:
        _check_not_binary(name, content)
    return Decoded(text, "utf-8")


def _check_kind(name: str, content: bytes) -> None:
    for beginning, kind, remedy in NOT_TEXT:
        if beginning.match(content):
            raise NotTextError(name, kind, remedy)
    if any(beginning.match(content) for beginning, _, _ in PACKED):
        raise NotTextError(name, "packed twice", "unpack it once")


def _as_marked(name: str, content: bytes, mark: bytes, encoding: str) -> Decoded:
    """Decode a file that begins with a byte-order mark."""
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        raise JaxcharError(
            f"{name!r} is not {encoding.upper()}, as its byte-order mark says: byte "
            f"0x{error.object[error.start]:02x} at position {error.start + len(mark):,}; get the file again, "
            "or save it again as UTF-8"
        ) from error
    remark = "" if encoding == "utf-8" else f"Read as {encoding.upper()}, as the byte-order mark says"
    return Decoded(text, encoding, remark)


def _must_be_utf8(content: bytes, told: str) -> bool:
    """Whether content is certainly UTF-8, whatever the user gave: other encodings rarely decode as UTF-8."""
    if content.isascii() and told not in WIDE:
        return False
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return not _num_controls(content)


def _as_told(name: str, content: bytes, told: str) -> Decoded:
    """Decode as the user said, unless it is UTF-8; with a remark if what the user said is probably wrong."""
    if _must_be_utf8(content, told):
        remark = "" if content.isascii() else f"Read as UTF-8, which it is, not as {told}"
        return Decoded(content.decode("utf-8"), "utf-8", remark)
    if told in ("utf-16", "utf-32"):  # Python would use the machine's byte order
        found = wide_without_mark(content)
        order = f"it looks like {found}; give --encoding={found}" if found else f"give {told}-le or {told}-be"
        raise JaxcharError(f"{name!r} has no byte-order mark, which --encoding={told} needs; {order}")
    try:
        text = content.decode(told).removeprefix("\ufeff")
    except UnicodeError as error:
        at = ""
        if isinstance(error, UnicodeDecodeError):
            at = f": byte 0x{content[error.start]:02x} at position {error.start:,}"
        raise JaxcharError(
            f"{name!r} cannot be read as {told}, as --encoding says{at}; {_advice(name, content)}"
        ) from error
    return Decoded(text, told, _doubt(content, text, told))


def _doubt(content: bytes, text: str, told: str) -> str:
    """Return what speaks against the encoding that the user gave, or nothing."""
    found = found_encoding(content)
    if found is None or found.confidence < SURE or found.passage in text:
        return ""
    return f"Read as {told}, as --encoding says, though it looks like {found.encoding}"


def _check_real_utf8(name: str, content: bytes) -> None:
    """Raise a JaxcharError for UTF-16, UTF-32 and ISO-2022, which may also be valid UTF-8."""
    if SHIFTS.search(content) and content.isascii():
        shifted = found_encoding(content)
        if shifted is not None and shifted.encoding.startswith(("iso2022", "hz")):
            raise JaxcharError(
                f"{name!r} is {shifted.encoding}, which reads {shifted.passage!r}; "
                + _remedy(name, shifted.encoding)
            )
    low = len(content) - len(content.translate(None, CONTROLS))
    if _num_controls(content) and low >= WIDE_CONTROLS * len(content):
        encoding = wide_without_mark(content)
        if encoding is not None:
            passage = _passage(content.decode(encoding, "replace"))
            raise JaxcharError(
                f"{name!r} is {encoding.upper()} without a byte-order mark, which reads {passage!r}; "
                + _remedy(name, encoding)
            )


def _check_not_binary(name: str, content: bytes) -> None:
    """Raise a JaxcharError for valid UTF-8 that is not text."""
    share = _num_controls(content) / max(1, len(content))
    if len(content) >= 4 * FEWEST_BYTES and share > MOST_CONTROLS:
        raise NotTextError(
            name,
            f"binary ({share:.0%} control characters)",
            "give text, or give --encoding=utf-8 if it is text anyway",
        )


def _num_controls(content: bytes) -> int:
    return len(content.translate(None, NOT_CONTROL))


# ---- detecting an encoding -----------------------------------------------------------------------


class Found(NamedTuple):
    """An encoding that a file may be in."""

    encoding: str  # Python's name of it
    confidence: float  # 0 to 1
    passage: str  # some characters of the file, decoded


def found_encoding(content: bytes) -> Found | None:
    """Return the probable encoding of content without a byte-order mark; None if it is not text."""
    wide = wide_without_mark(content)
    if wide is not None:
        return Found(wide, 1.0, _passage(content.decode(wide, "replace")))
    import chardet

    for superset in (False, True):  # the detector only sees the beginning; the rest may need a superset
        answer = chardet.detect(content, prefer_superset=superset, compat_names=False)
        encoding = answer["encoding"]
        if encoding is None:
            return None
        for candidate in (*USUAL.get(encoding, ()), encoding):
            try:
                text = content.decode(candidate)
            except (UnicodeError, LookupError):
                continue
            if candidate == encoding or text == content.decode(encoding, "replace"):
                if _mixes_scripts(text):
                    return _found_latin(content) or Found(candidate, 0.0, _passage(text))
                return Found(candidate, answer["confidence"], _passage(text))
    return None


def _mixes_scripts(text: str) -> bool:
    """Whether Latin words contain letters of other alphabets: a sign of a wrong guess."""
    beyond_ascii = WORD_LETTER.findall(text[:SAMPLE])
    foreign = [before for before, letter in beyond_ascii if before and not _is_latin(letter)]
    return len(foreign) > MOST_MIXED * len(beyond_ascii)


def _found_latin(content: bytes) -> Found | None:
    """Return the Western or Central European encoding in which every letter is Latin, if there is one."""
    for encoding in ("cp1252", "cp1250"):
        try:
            text = content.decode(encoding)
        except UnicodeError:
            continue
        letters = [c for c in text[:SAMPLE] if c > "\x7f" and c.isalpha()]
        if letters and all(map(_is_latin, letters)):
            return Found(encoding, 0.0, _passage(text))  # only a guess, for the user to check
    return None


def _is_latin(letter: str) -> bool:
    return unicodedata.name(letter, "").startswith("LATIN")


def wide_without_mark(content: bytes) -> str | None:
    """Return which of UTF-16 and UTF-32, in which byte order, content without a mark has, or None.

    The right one gives only assigned characters, among them line breaks, spaces or East Asian kana and
    punctuation, from the fewest blocks of 256. The wrong byte order scatters them.
    """
    candidates = []
    for encoding, width in WITHOUT_MARK:
        if len(content) < FEWEST_BYTES or len(content) % width:
            continue
        decoder = codecs.getincrementaldecoder(encoding)()  # the sample may end within a character
        try:
            text = decoder.decode(content[:SAMPLE], final=len(content) <= SAMPLE)
        except UnicodeDecodeError:
            continue
        anchors = sum(c < "\x7f" or "\u3000" <= c <= "\u30ff" or "\uff01" <= c <= "\uff65" for c in text)
        if all(map(_is_of_texts, text)) and anchors >= len(text) / 50:
            candidates.append((len({ord(c) >> 8 for c in text}), -anchors, encoding))
    return min(candidates)[2] if candidates else None


def _is_of_texts(character: str) -> bool:
    return unicodedata.category(character) not in ("Cc", "Cn", "Co", "Cs") or character in "\t\n\r\f\v"


def _passage(text: str) -> str:
    """Return the text around the first non-ASCII character: a person sees whether it is right."""
    first = next((i for i, c in enumerate(text[:SAMPLE]) if c > "\x7f"), 0)
    return " ".join(text[max(0, first - 15) : first + 25].split())


# ---- messages ------------------------------------------------------------------------------------


def _not_utf8(name: str, content: bytes, error: UnicodeDecodeError) -> JaxcharError:
    """Return the error for a file that is not UTF-8: no text, or a text in another encoding."""
    if found_encoding(content) is None:
        import chardet

        mime = chardet.detect(content)["mime_type"]
        if mime not in (None, "application/octet-stream", "text/plain"):
            return NotTextError(name, f"a file of type {mime}", "give text")
        if _num_controls(content) > MOST_CONTROLS / 5 * len(content):
            return NotTextError(name, "binary", "give text")
    return JaxcharError(
        f"{name!r} is not UTF-8: byte 0x{content[error.start]:02x} at position {error.start:,}; "
        + _advice(name, content)
    )


def _advice(name: str, content: bytes) -> str:
    """Return which encoding a file seems to have, and what to type."""
    found = found_encoding(content)
    if found is None:
        return "its encoding could not be detected; name it with --encoding, or convert the file to UTF-8"
    certainty = "looks like" if found.confidence >= PROBABLE else "may be"
    return f"it {certainty} {found.encoding}, which reads {found.passage!r}; {_remedy(name, found.encoding)}"


def _remedy(name: str, encoding: str) -> str:
    """Return what to type for a file with this encoding."""
    command = f"iconv -f {iconv_name(encoding)} -t UTF-8"
    if os.path.exists(name) and not name.endswith((".gz", ".bz2", ".xz", ".lzma")):  # noqa: PTH110, any name
        base, extension = os.path.splitext(name)  # noqa: PTH122
        command += f" {shlex.quote(name)} > {shlex.quote(f'{base}.utf8{extension}')}"
    return f"give --encoding={encoding}, or convert it: {command}"


def iconv_name(encoding: str) -> str:
    """Return iconv's name of one of Python's encodings."""
    if encoding in ICONV_NAMES:
        return ICONV_NAMES[encoding]
    name = encoding.upper().replace("_", "-")
    name = re.sub(r"^UTF-(16|32)-(LE|BE)$", r"UTF-\1\2", name)
    return re.sub(r"^ISO8859-", "ISO-8859-", name)
