"""Text from files, folders and standard input; its alphabet and its splits; the cache of named corpora."""

import errno
import gzip
import hashlib
import http.client
import io
import os
import string
import sys
import urllib.request
from pathlib import Path

import promises
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxchar.config import CorpusConfig
from jaxchar.data import corpus
from jaxchar.data.corpus import RemoteCorpus, load_corpus, reduce_alphabet, split_positions
from jaxchar.errors import JaxcharError


def load(source, **chosen):
    return load_corpus(CorpusConfig(corpus=str(source) if isinstance(source, Path) else source, **chosen))


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder of texts, some of them hidden."""
    texts = {"b.txt": "B", "a.txt": "A", "c/d.md": "D", ".hidden": "no", ".git/e.txt": "no", "c/.f": "no"}
    for name, text in texts.items():
        file = tmp_path / "texts" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "texts"


# ---- files, folders, globs, standard input -------------------------------------------------------


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(min_size=1).filter(lambda text: not text.startswith("\ufeff")))
def test_a_file_is_read_character_for_character(tmp_path, text):
    content = text.encode()
    (tmp_path / "text").write_bytes(content)
    read = load(tmp_path / "text")
    assert read[:3] == ((str(tmp_path / "text"),), text, hashlib.sha256(content).hexdigest())
    assert read.encoding == "utf-8"


@pytest.mark.parametrize(
    "content, text",
    [
        (b"\xef\xbb\xbfabc", "abc"),
        (b"ab\xef\xbb\xbfc", "ab\ufeffc"),
        (b"a\r\nb\rc\nd\n\r", "a\r\nb\rc\nd\n\r"),
        ("\u2028\x85\x0b\x00".encode(), "\u2028\x85\x0b\x00"),
    ],
    ids=["byte-order mark", "no mark inside", "line endings", "odd line endings"],
)
def test_a_leading_byte_order_mark_is_dropped_and_nothing_else(tmp_path, content, text):
    (tmp_path / "text").write_bytes(content)
    assert load(tmp_path / "text").text == text


@pytest.mark.parametrize(
    "sources, text",
    [
        (["{}/b.txt", "{}/a.txt"], "B\nA"),
        ("{}", "A\nB\nD"),
        ("{}/*.txt", "A\nB"),
        ("{}/**/*.??*", "A\nB\nD"),
        ("{}/**", "A\nB\nD"),
        ("{}/**/*.md", "D"),
        (["{}/c", "{}/?.txt"], "D\nA\nB"),
        ("{}/.hidden", "no"),
    ],
    ids=[
        "as listed",
        "folder",
        "glob",
        "recursive glob",
        "all below",
        "recursive glob of one",
        "folder and glob",
        "hidden but named",
    ],
)
def test_sources_are_read_in_the_order_given_and_sorted_within(folder, sources, text):
    named = [s.format(folder) for s in sources] if isinstance(sources, list) else sources.format(folder)
    read = load(named)
    assert read.text == text
    assert read.source == CorpusConfig(corpus=named).sources
    assert read.sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_every_file_may_begin_with_a_byte_order_mark(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(name, encoding="utf-8-sig")
    assert load([f"{tmp_path}/a", f"{tmp_path}/b"]).text == "a\nb"


def test_an_existing_file_wins_over_the_glob_of_its_name(tmp_path):
    (tmp_path / "[ab]").write_text("itself")
    (tmp_path / "a").write_text("matched")
    assert load(tmp_path / "[ab]").text == "itself"


def test_a_dash_reads_standard_input_as_it_is(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfa\r\n\xc3\xa9")))
    assert load("-")[:2] == (("-",), "a\r\n\u00e9")


@pytest.mark.parametrize("content, position", [(b"ab\xffc", "2"), (b"a" * 1_234 + b"\xc3(", "1,234")])
def test_text_that_is_not_utf_8_is_refused_with_file_and_position(tmp_path, content, position):
    (tmp_path / "good").write_text("good")
    (tmp_path / "latin").write_bytes(content)
    with pytest.raises(JaxcharError, match=rf"latin' is not UTF-8: byte 0x(ff|c3) at position {position};"):
        load([f"{tmp_path}/good", f"{tmp_path}/latin"])


def test_the_position_of_a_bad_byte_is_that_in_the_file(tmp_path):
    (tmp_path / "latin").write_bytes(b"\xef\xbb\xbfab\xff")
    with pytest.raises(JaxcharError, match="at position 5;"):
        load(tmp_path / "latin")


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"], ids=["no bytes", "a mark alone"])
def test_an_empty_text_is_refused(tmp_path, content):
    (tmp_path / "empty").write_bytes(content)
    with pytest.raises(JaxcharError, match=r"empty' is empty"):
        load(tmp_path / "empty")


@pytest.mark.parametrize("missing", ["gone.txt", "*.gone", "no/such/folder", "c/d.md/e", "a\0b"])
def test_a_missing_source_is_refused_by_name_with_what_there_is(folder, missing):
    with pytest.raises(JaxcharError) as refused:
        load([f"{folder}/a.txt", f"{folder}/{missing}"])
    assert repr(f"{folder}/{missing}") in str(refused.value)
    assert all(name in str(refused.value) for name in ("shakespeare", "nietzsche", "python", "auto"))


def test_a_folder_without_visible_files_is_refused(tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / ".hidden").write_text("no")
    with pytest.raises(JaxcharError, match="contains no files"):
        load(tmp_path / "texts")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that cannot be read")
def test_a_file_that_cannot_be_read_is_refused_by_name():
    with pytest.raises(JaxcharError, match=r"cannot read .*'/proc/self/mem'"):
        load("/proc/self/mem")


@pytest.mark.parametrize("source", ["a" * 300, "~no-such-user/text"], ids=["too long", "unknown user"])
def test_a_path_that_cannot_exist_is_refused_as_missing(source):
    with pytest.raises(JaxcharError):
        load(source)


# ---- folders as people have them -----------------------------------------------------------------


@promises.FILES
@pytest.mark.parametrize("source", ["{}", "{}/*", "{}/**"])
def test_what_is_no_text_in_a_folder_is_left_out_and_told_in_one_line(folder, source):
    (folder / "f.pyc").write_bytes(b"\xa7\r\r\n" + b"\0" * 12 + os.urandom(99))
    (folder / "g.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    (folder / "h.pdf").write_bytes(b"%PDF-1.7")
    (folder / "i.txt.gz").write_bytes(gzip.compress(b"I"))
    read = load(source.format(folder))
    assert read.text == ("A\nB\nI" if source.endswith("/*") else "A\nB\nD\nI")
    left_out = "f.pyc (compiled Python), g.png (a file of type image/png), h.pdf (a PDF document)"
    assert read.notice == f"Took {read.text.count(chr(10)) + 1} files; left out 3: {left_out}."


@promises.FILES
def test_a_long_list_of_what_is_left_out_is_cut(folder):
    for number in range(9):
        (folder / f"{number}.pdf").write_bytes(b"%PDF-1.7")
    assert load(folder).notice.endswith("4.pdf (a PDF document) and 4 more.")


@promises.FILES
def test_a_folder_of_texts_alone_says_how_many(folder):
    assert load(folder).notice == "Took 3 files."
    assert load([f"{folder}/a.txt", f"{folder}/b.txt"]).notice == ""  # all of them were named


@promises.FILES
def test_a_folder_without_any_text_is_refused(tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7")
    with pytest.raises(JaxcharError, match=r"no text files; left out 1: a.pdf \(a PDF document\); put"):
        load(tmp_path)


@promises.FILES
def test_a_file_that_is_named_is_never_left_out(folder):
    (folder / "f.pdf").write_bytes(b"%PDF-1.7")
    with pytest.raises(JaxcharError, match=r"f.pdf' is a PDF document"):
        load([f"{folder}/a.txt", f"{folder}/f.pdf"])


@promises.ENCODINGS
def test_old_and_new_encodings_in_a_folder_need_one_option(tmp_path):
    (tmp_path / "1").write_text("Träumen\n", encoding="utf-8")
    (tmp_path / "2").write_text("Träumen\n", encoding="cp1252")
    (tmp_path / "3").write_text("Träumen\n", encoding="utf-16")
    with pytest.raises(JaxcharError, match=r"2' is not UTF-8"):
        load(tmp_path)
    read = load(tmp_path, encoding="cp1252")
    assert read.text == "Träumen\n" * 3
    assert read.encoding == "utf-8, cp1252, utf-16-le"
    assert "Read as UTF-8, which it is, not as cp1252: " in read.notice
    assert f"Read as UTF-16-LE, as the byte-order mark says: '{tmp_path}/3'." in read.notice


@promises.FILES
@pytest.mark.parametrize(
    ("texts", "joined"),
    [
        (["one", "two\n", "three"], "one\ntwo\nthree"),
        (["one\n", "two\n"], "one\ntwo\n"),
        (["one\r\n", "two\r", "three"], "one\r\ntwo\rthree"),
        (["", "one", "", "two", ""], "one\ntwo"),
        (["one", "\n"], "one\n\n"),
    ],
)
def test_a_file_is_not_glued_to_the_next(tmp_path, texts, joined):
    for number, text in enumerate(texts):
        (tmp_path / str(number)).write_bytes(text.encode())
    read = load(tmp_path)
    assert read.text == joined
    assert read.sha256 == hashlib.sha256(joined.encode()).hexdigest()


@promises.OLD_CHECKPOINTS
def test_files_that_an_older_version_glued_are_known_by_their_digest(tmp_path):
    for number, text in enumerate(["one", "two", "three\n", "four"]):
        (tmp_path / str(number)).write_text(text)
    glued = hashlib.sha256(b"onetwothree\nfour").hexdigest()
    config = CorpusConfig(corpus=str(tmp_path))
    assert corpus.read_corpus(config, glued)[1:3] == ("onetwothree\nfour", glued)
    assert corpus.read_corpus(config, "0" * 64).text == "one\ntwo\nthree\nfour"


@promises.FILES
@pytest.mark.parametrize("source", ["{}", "{}/**", "{}/**/*", "{}/**/**/*.txt"])
def test_links_that_lead_back_are_followed_once_at_most(tmp_path, source):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "t.txt").write_text("text")
    for number in range(20):
        (tmp_path / "a" / "b" / f"up{number}").symlink_to(tmp_path, target_is_directory=True)
        (tmp_path / "a" / f"gone{number}").symlink_to(tmp_path / "nowhere")
    assert load(source.format(tmp_path)).text == "text"


@promises.FILES
def test_carriage_returns_are_told(tmp_path):
    (tmp_path / "text").write_bytes(b"a\r\nb\r\nc\nd\re")
    read = load(tmp_path / "text")
    assert read.text == "a\r\nb\r\nc\nd\re"
    assert "line ends of 2 Windows (\\r\\n), 1 old Mac (\\r), 1 Unix (\\n); \\r is a separate" in read.notice
    assert load(tmp_path / "text", keep="abc\n").notice == ""


@promises.TEXT_FOUND
@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("a.txt", "{}/a.txt"),
        ("./c", "{}/c"),
        ("c/../a.txt", "{}/a.txt"),
        ("*.txt", "{}/*.txt"),
        (".", "{}"),
        ("python", "python"),
        ("./python", "{}/python"),
        (("a.txt", "c"), ("{}/a.txt", "{}/c")),
    ],
)
def test_a_path_is_kept_whole_and_means_the_same_from_any_folder(folder, monkeypatch, typed, kept):
    (folder / "python").write_text("a file of that name")
    monkeypatch.chdir(folder)
    read = load(typed)
    expected = [k.format(folder) for k in ((kept,) if isinstance(kept, str) else kept)]
    assert list(read.source) == expected
    monkeypatch.chdir("/")
    assert load(read.source) == read


@promises.TEXT_FOUND
def test_a_glob_is_kept_whole_in_a_folder_with_brackets(tmp_path, monkeypatch):
    (tmp_path / "[a] *").mkdir()
    (tmp_path / "[a] *" / "b.txt").write_text("text")
    monkeypatch.chdir(tmp_path / "[a] *")
    read = load("*.txt")
    monkeypatch.chdir("/")
    assert load(read.source) == read


# ---- the alphabet and the limit ------------------------------------------------------------------

LETTERS_AND_MARKS = string.ascii_lowercase + ",.?! \n:;-'\""


@settings(deadline=None)
@given(st.text(st.one_of(st.characters(), st.sampled_from(LETTERS_AND_MARKS + string.ascii_uppercase))))
def test_the_small_alphabet_lowers_letters_and_blanks_all_it_lacks(text):
    lowered = "".join(c.lower() for c in text)
    expected = "".join(c if c in LETTERS_AND_MARKS else " " for c in lowered)
    assert reduce_alphabet(text, CorpusConfig(lowercase=True, keep=LETTERS_AND_MARKS)) == expected


@settings(deadline=None)
@given(st.text(), st.text(), st.characters().filter(lambda fill: fill != "\\"))
def test_any_characters_may_be_kept_and_the_length_stays(text, keep, fill):
    expected = "".join(c if c in keep else fill for c in text)
    assert reduce_alphabet(text, CorpusConfig(keep=keep, fill=fill)) == expected


@pytest.mark.parametrize("keep", ["", "^a", "a-c", "]", "[[:", "\\w", "&&", "--", "~~", "||", "a]b"])
def test_characters_with_a_meaning_in_patterns_are_kept_as_themselves(keep):
    text = string.printable
    expected = "".join(c if c in keep else "_" for c in text)
    assert reduce_alphabet(text, CorpusConfig(keep=keep, fill="_")) == expected


def test_a_backslash_may_be_the_fill():
    assert reduce_alphabet("abc", CorpusConfig(keep="a", fill="\\")) == "a\\\\"


def test_an_alphabet_is_left_alone_unless_asked():
    assert reduce_alphabet("A\tb\u00c9", CorpusConfig()) == "A\tb\u00c9"
    assert reduce_alphabet("A\tb\u00c9", CorpusConfig(lowercase=True)) == "a\tb\u00e9"


@pytest.mark.parametrize("limit, text", [(1, "\u00e9"), (3, "\u00e9\U0001f600b"), (99, "\u00e9\U0001f600bc")])
def test_the_limit_counts_characters_from_the_start(tmp_path, limit, text):
    (tmp_path / "text").write_text("\u00e9\U0001f600bc", encoding="utf-8")
    assert load(tmp_path / "text", max_chars=limit).text == text


def test_the_digest_is_of_the_bytes_before_any_reduction(tmp_path):
    (tmp_path / "text").write_text("ABC")
    plain, reduced = load(tmp_path / "text"), load(tmp_path / "text", lowercase=True, max_chars=1)
    assert reduced.text == "a"
    assert reduced.sha256 == plain.sha256


# ---- splits --------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=500)
@given(st.integers(0, 10**9), st.floats(0, 1), st.floats(0, 1))
def test_splits_are_contiguous_complete_and_of_the_shares_asked_for(num_chars, val, test):
    if val + test >= 1:
        val, test = val / 2.5, test / 2.5
    splits = split_positions(num_chars, CorpusConfig(val_fraction=val, test_fraction=test))
    assert list(splits) == ["train", "validation", "test"]
    edges = [position for split in splits.values() for position in split]
    assert edges == [0, edges[1], edges[1], edges[3], edges[3], num_chars]
    assert edges == sorted(edges)
    for name, share in (("train", 1 - val - test), ("validation", val), ("test", test)):
        assert abs(splits[name].stop - splits[name].start - num_chars * share) <= 1 + 1e-6


# ---- named corpora -------------------------------------------------------------------------------

CONTENT = b"To be, or not to be: that is the question.\n" * 3


class Remote:
    """A stand-in for a public text: where it lies, where its cached copy will."""

    def __init__(self, folder: Path) -> None:
        self.original = folder / "original.txt"
        self.original.write_bytes(CONTENT)
        self.cached = Path(os.environ["JAXCHAR_CACHE"]) / "tiny.txt"

    def cache_files(self) -> list[str]:
        return sorted(file.name for file in self.cached.parent.glob("*"))


@pytest.fixture
def remote(tmp_path, monkeypatch) -> Remote:
    made = Remote(tmp_path)
    record = RemoteCorpus(
        "tiny.txt", made.original.as_uri(), len(CONTENT), hashlib.sha256(CONTENT).hexdigest()
    )
    monkeypatch.setattr(corpus, "REMOTE_CORPORA", {"shakespeare": record})
    return made


def test_a_named_corpus_is_fetched_once_and_kept(remote):
    first = load("shakespeare")
    remote.original.unlink()
    assert load("shakespeare") == first
    assert first == (("shakespeare",), CONTENT.decode(), hashlib.sha256(CONTENT).hexdigest(), "", "utf-8")
    assert remote.cache_files() == ["tiny.txt"]
    assert remote.cached.read_bytes() == CONTENT


SPOILT = {
    "altered": CONTENT.replace(b"not", b"now"),
    "truncated": CONTENT[:-1],
    "empty": b"",
    "long": CONTENT + b"x",
}


@pytest.mark.parametrize("spoilt", SPOILT.values(), ids=SPOILT)
def test_a_spoilt_cached_copy_is_replaced(remote, spoilt):
    remote.cached.parent.mkdir()
    remote.cached.write_bytes(spoilt)
    assert load("shakespeare").text == CONTENT.decode()
    assert remote.cached.read_bytes() == CONTENT


@pytest.mark.parametrize("spoilt", SPOILT.values(), ids=SPOILT)
def test_a_spoilt_cached_copy_is_not_used_even_without_network(remote, spoilt):
    remote.cached.parent.mkdir()
    remote.cached.write_bytes(spoilt)
    remote.original.unlink()
    with pytest.raises(JaxcharError, match="cannot be fetched"):
        load("shakespeare")


@pytest.mark.parametrize("spoilt", SPOILT.values(), ids=SPOILT)
def test_a_spoilt_download_is_refused_and_leaves_nothing_behind(remote, spoilt):
    remote.original.write_bytes(spoilt)
    with pytest.raises(JaxcharError, match="SHA-256") as refused:
        load("shakespeare")
    assert str(remote.cached) in str(refused.value)
    assert remote.cache_files() == []


def test_the_cache_is_filled_in_one_move(remote, monkeypatch):
    moves = []

    def replace(partial, final):
        moves.append((Path(partial).read_bytes(), Path(partial).parent, Path(final), Path(final).exists()))
        rename(partial, final)

    rename = os.replace
    monkeypatch.setattr(os, "replace", replace)
    load("shakespeare")
    assert moves == [(CONTENT, remote.cached.parent, remote.cached, False)]


def test_a_failed_move_into_the_cache_leaves_nothing_behind(remote):
    (remote.cached / "in the way").mkdir(parents=True)
    assert load("shakespeare").text == CONTENT.decode()
    assert remote.cache_files() == ["tiny.txt"]


def test_a_cache_that_cannot_be_made_is_done_without(remote):
    remote.cached.parent.write_text("a file where the folder should be")
    assert load("shakespeare").text == CONTENT.decode()


def test_a_read_only_cache_is_done_without(remote, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    assert load("shakespeare").text == CONTENT.decode()
    assert remote.cache_files() == []


@pytest.mark.parametrize(
    "failure", [TimeoutError("timed out"), http.client.IncompleteRead(b"To be"), ConnectionResetError()]
)
def test_a_corpus_that_cannot_be_fetched_says_where_to_put_it(remote, monkeypatch, failure):
    def fail(*args, **kwargs):
        raise failure

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    with pytest.raises(JaxcharError, match="'shakespeare' cannot be fetched") as refused:
        load("shakespeare")
    assert f"put the file at {remote.cached}" in str(refused.value)
    assert "\n" not in str(refused.value)
    remote.cached.parent.mkdir()
    remote.cached.write_bytes(CONTENT)  # as the message says
    assert load("shakespeare").text == CONTENT.decode()


def test_auto_is_shakespeare_where_it_can_be_had(remote):
    assert load("auto") == load("shakespeare")


def test_auto_falls_back_to_python_and_says_so(remote):
    remote.original.unlink()
    fallen_back, python = load("auto"), load("python")
    assert fallen_back.source == ("python",)
    assert "python" in fallen_back.notice
    assert fallen_back._replace(notice="") == python


def test_python_needs_no_network(monkeypatch):
    def forbid(*args, **kwargs):
        pytest.fail("the network was asked")

    monkeypatch.setattr(urllib.request, "urlopen", forbid)
    assert len(load("python").text) > 100_000


@pytest.mark.parametrize("chosen", ["/some/cache", "~/cache"])
def test_the_cache_is_where_the_environment_says(monkeypatch, chosen):
    monkeypatch.setenv("JAXCHAR_CACHE", chosen)
    assert corpus.cache_folder() == Path(chosen).expanduser()


def test_the_cache_is_the_users_own_otherwise(monkeypatch):
    monkeypatch.delenv("JAXCHAR_CACHE")
    assert corpus.cache_folder().is_absolute()
    assert corpus.cache_folder().name == "jaxchar"


@pytest.mark.parametrize("name, remote", corpus.REMOTE_CORPORA.items(), ids=corpus.REMOTE_CORPORA)
def test_the_real_records_are_well_formed(name, remote):
    assert remote.address.startswith("https://")
    assert len(bytes.fromhex(remote.sha256)) == 32
    assert remote.num_bytes > 500_000
