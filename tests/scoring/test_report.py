"""What is put on paper: the CSV round-trips, the page shows text as text."""

import csv
import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxchar.data.vocabulary import Vocabulary
from jaxchar.errors import JaxcharError
from jaxchar.scoring import report
from jaxchar.scoring.predictions import Predictions
from jaxchar.scoring.report import CharacterTable, ReportFolder, page, write_csv

CHARACTERS = st.one_of(
    st.sampled_from("\n\r\t\0 \",';<>&·\u2028\u202e\x1b"), st.characters(exclude_categories=["Cs"])
)
TEXTS = st.text(CHARACTERS, min_size=2, max_size=40)


def table_of(text: str, skip: int = 1) -> CharacterTable:
    vocabulary = Vocabulary(text)
    positions = np.arange(skip, len(text), dtype=np.int32)
    surprises = np.linspace(0.01, 9, len(positions)).astype(np.float32)
    predictions = Predictions(positions, surprises, 1 + positions % 3)
    return CharacterTable(vocabulary, vocabulary.encode(text), predictions)


class Reader(HTMLParser):
    """What a browser makes of the page: the classes, titles and text of its characters, and all tags."""

    def __init__(self):
        super().__init__()
        self.tags, self.titles, self.classes, self.shown, self._in_text = set(), [], [], "", False

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self._in_text = self._in_text or tag == "pre"
        if tag == "i" and self._in_text:
            self.titles.append(dict(attributes)["title"])
            self.classes.append(dict(attributes)["class"].split())

    def handle_data(self, data):
        self.shown += data if self._in_text else ""


def read(text: str, **options) -> tuple[str, Reader]:
    whole = "".join(page("a title", table_of(text, **options), "<x>.csv"))
    reader = Reader()
    reader.feed(whole)
    return whole, reader


@given(TEXTS)
@settings(max_examples=100, deadline=None)
def test_the_csv_gives_the_text_back(text):
    table, file = table_of(text), io.StringIO(newline="")
    write_csv(file, table)
    file.seek(0)
    rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == report.COLUMNS
    assert "".join(row["character"] for row in rows) == text
    assert [int(row["position"]) for row in rows] == list(range(len(text)))
    assert [int(row["id"]) for row in rows] == Vocabulary(text).encode(text).tolist()
    assert (rows[0]["nats"], rows[0]["rank"], rows[0]["probability"]) == ("", "", "")
    nats = np.array([float(row["nats"]) for row in rows[1:]])
    np.testing.assert_allclose(nats, table.surprises[1:], rtol=1e-5)
    np.testing.assert_allclose([float(row["probability"]) for row in rows[1:]], np.exp(-nats), rtol=1e-4)
    assert [int(row["rank"]) for row in rows[1:]] == table.ranks[1:].tolist()


@given(TEXTS)
@settings(max_examples=100, deadline=None)
def test_whatever_the_text_holds_the_page_has_a_mark_for_each_character_and_nothing_else(text):
    whole, reader = read(text)
    assert reader.tags == {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "p",
        "table",
        "tr",
        "td",
        "pre",
        "i",
    }
    assert len(reader.titles) == len(text)
    for position, (character, title) in enumerate(zip(text, reader.titles, strict=True)):
        assert title.startswith(f"{position:,}: ")
        assert f"U+{ord(character):04X}" in title
    assert not set(whole) & {"\0", "\x1b", "\u202e", "\u2028", "\r"}


def test_markup_in_the_text_is_text():
    text = "<script>alert(1)</script>&amp;\"'><img src=x onerror=alert(1)>"
    whole, reader = read(text)
    assert "<script" not in whole and "<img" not in whole
    assert all(f">{escaped}</i>" in whole for escaped in ("&lt;", "&gt;", "&amp;", "&quot;", "&#x27;"))
    assert reader.shown.strip("\n") == text
    titled = "".join(page("<script>", table_of(text), "<script>"))
    assert "<script" not in titled and titled.count("&lt;script&gt;") == 2


def test_the_page_needs_nothing_from_elsewhere_and_forbids_scripts():
    whole, _ = read("some text")
    assert "default-src 'none'" in whole
    assert not any(word in whole for word in ("http:", "https:", "src=", "href=", "url("))


def test_shades_follow_the_surprise():
    vocabulary = Vocabulary("ab")
    surprises = np.array([0.05, 0.2, 0.7, 1.5, 2.5, 4.0, 50.0], np.float32)
    predictions = Predictions(np.arange(1, 8, dtype=np.int32), surprises, np.ones(7, np.int32))
    table = CharacterTable(vocabulary, np.zeros(8, np.uint8), predictions)
    reader = Reader()
    reader.feed("".join(page("", table, "")))
    assert [classes[0] for classes in reader.classes] == ["none", *(f"k{k}" for k in range(7))]
    assert "probability 0.819, rank 1" in reader.titles[2]
    assert reader.titles[0].endswith("not predicted")


def test_whitespace_and_what_shows_nothing_is_visible():
    _, reader = read("a b\tc\nd\x07\u202e")
    kinds = [classes[1:] for classes in reader.classes]
    assert kinds == [[], ["space"], [], ["tab"], [], ["line"], [], ["unseen"], ["unseen"]]
    assert reader.shown.strip("\n") == "a b\tc\nd\u2407U+202E"


def test_a_long_text_is_cut_and_the_page_says_so(monkeypatch):
    monkeypatch.setattr(report, "PAGE_CHARS", 5)
    whole, reader = read("0123456789")
    assert reader.shown.strip("\n") == "01234"
    assert "the first 5</strong>; all are in &lt;x&gt;.csv" in whole


def test_of_several_predictions_the_best_informed_counts():
    predictions = Predictions(np.array([1, 1, 2]), np.array([0.5, 9.0, 1.0], np.float32), np.array([1, 7, 2]))
    table = CharacterTable(Vocabulary("ab"), np.array([0, 1, 0]), predictions)
    assert table.surprises[1:].tolist() == [0.5, 1.0] and table.ranks.tolist() == [0, 1, 2]


def test_files_are_whole_or_not_there(tmp_path, monkeypatch):
    vocabulary = Vocabulary("ab")
    arguments = ("t", "title", vocabulary, vocabulary.encode("abab"))
    predictions = Predictions(np.arange(1, 4), np.ones(3, np.float32), np.ones(3, np.int32))
    folder = ReportFolder(str(tmp_path / "new" / "folder"))
    folder.make()
    files = folder.write(*arguments, predictions)
    before = [Path(file).read_bytes() for file in files]

    def breaks(*_):
        yield "half a page"
        raise OSError("no space left")

    monkeypatch.setattr(report, "page", breaks)
    with pytest.raises(JaxcharError, match="no space left"):
        folder.write(*arguments, predictions)
    assert [Path(file).read_bytes() for file in files] == before
    assert sorted(p.name for p in folder.path.iterdir()) == ["t.csv", "t.html"]


@pytest.mark.parametrize("path", ["file", "file/inside", "file/in/side"])
def test_a_file_where_a_folder_is_meant_is_refused(tmp_path, path):
    (tmp_path / "file").touch()
    with pytest.raises(JaxcharError, match="is a file; give another"):
        ReportFolder(str(tmp_path / path))
