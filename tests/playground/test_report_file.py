"""The page on a run: whole, alone, and nothing in it runs."""

import re
import shutil
from html.parser import HTMLParser

import pytest

from jaxchar import report
from jaxchar.errors import JaxcharError
from jaxchar.playground.report_file import write_report


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.text = set(), set(), ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def page(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("named") / "<img src=x onerror=alert(1)>"
    shutil.copytree(runs / "small", folder)
    out = folder.parent / "page.html"
    assert write_report(folder, out, text="the cat (no)") == out
    return out.read_text(encoding="utf-8")


def test_it_has_every_view(page):
    for heading in ("What it writes", "What it reads", "What its units tell", "How it learned"):
        assert f"<h2>{heading}</h2>" in page
    for pattern in ("Inside quotation marks", "Upper case", "Digits"):
        assert f"<h3>{pattern}</h3>" in page
    assert "data:image/png;base64," in page
    assert "11 characters (the given text)" in page


def test_nothing_in_it_runs_or_is_fetched(page):
    found = Tags(page)
    known = "html head meta title style body h1 h2 h3 p pre i span table tr td img"
    assert found.tags <= set(known.split())
    assert not {name for name in found.attributes if name.startswith("on")}
    assert "<img src=x onerror=alert(1)>" in found.text  # the run's name, as text
    assert not re.findall(r"https?://", page)
    assert "default-src 'none'" in page and "script-src" not in page


def test_the_command_writes_it(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "jaxchar.playground.report_file.write_report", lambda run, out, text: (run, out, text)
    )
    (tmp_path / "t.txt").write_text("abc")
    report.main([str(runs / "small"), "--out", "x.html", "--text", str(tmp_path / "t.txt")])
    assert capsys.readouterr().out.strip() == str((str(runs / "small"), "x.html", "abc"))


@pytest.mark.parametrize(
    ("out", "text"), [("/nowhere/x.html", None), ("http://x/y", None), ("x.html", "\u202e")]
)
def test_what_cannot_be_written_is_refused_in_one_line(runs, tmp_path, monkeypatch, out, text):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(JaxcharError) as error:
        write_report(runs / "small", out, text=text)
    assert "\n" not in str(error.value)
