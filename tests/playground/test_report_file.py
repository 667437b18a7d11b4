"""The page on a run: whole, alone, and nothing in it runs."""

import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from jaxchar import report
from jaxchar.checkpoint.record import read_metadata
from jaxchar.errors import JaxcharError
from jaxchar.playground.report_file import write_report
from jaxchar.scoring.report import STYLE


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
        "jaxchar.playground.report_file.write_report",
        lambda run, out, text, which, **_: (run, out, text, which),
    )
    (tmp_path / "t.txt").write_text("abc")
    typed = [str(runs / "small"), "--out", "x.html", "--text", str(tmp_path / "t.txt"), "--which", "last"]
    report.main(typed)
    assert capsys.readouterr().out.strip() == str((str(runs / "small"), "x.html", "abc", "last"))


def test_the_checkpoint_is_the_one_that_is_asked_for(runs, tmp_path, monkeypatch):
    from jaxchar.playground import report_file

    monkeypatch.setattr(report_file, "PATTERNS", {})
    losses = {
        step: read_metadata(runs / "small" / "checkpoints" / str(step)).validation_loss for step in (20, 40)
    }
    best = min(losses, key=losses.get)
    monkeypatch.setattr(report_file, "default_prompt", lambda _: "t")
    cases = {("small", "last"): 40, ("small", "best"): best, ("small", None): best}
    for (path, which), step in (cases | {("small/checkpoints/20", None): 20}).items():
        page = write_report(runs / path, tmp_path / "x.html", text="the cat", which=which).read_text()
        assert f"after {step} steps" in page and "<h1>small</h1>" in page


def test_the_command_says_which_checkpoint_it_took_and_shows_no_bar_in_a_file(
    runs, tmp_path, capsys, monkeypatch
):
    from jaxchar.playground import report_file

    monkeypatch.setattr(report_file, "PATTERNS", {})
    report.main([str(runs / "small"), "--out", str(tmp_path / "x.html")])
    found = capsys.readouterr()
    assert found.out == f"{tmp_path / 'x.html'}\n"
    assert found.err == "Using its best checkpoint, of step 40.\n"


def test_progress_goes_from_nothing_to_the_end(runs, tmp_path):
    told = []
    write_report(
        runs / "small", tmp_path / "x.html", on_progress=lambda doing, done: told.append((doing, done))
    )
    shares = [done for _, done in told]
    assert shares[0] == 0 and shares == sorted(set(shares)) and 0.8 < shares[-1] < 1
    assert told[0][0] == "loading the model ..." and "units for digits ..." in dict(told)


def test_a_folder_of_runs_is_none(runs, tmp_path):
    with pytest.raises(JaxcharError, match=r"no checkpoint in .*; give a run folder"):
        write_report(runs, tmp_path / "x.html")


@pytest.mark.parametrize(
    ("out", "text"), [("/nowhere/x.html", None), ("http://x/y", None), ("x.html", "\u202e")]
)
def test_what_cannot_be_written_is_refused_in_one_line(runs, tmp_path, monkeypatch, out, text):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(JaxcharError) as error:
        write_report(runs / "small", out, text=text)
    assert "\n" not in str(error.value)


def test_words_on_every_shade_have_contrast():
    def luminance(colour):
        digits = colour.removeprefix("#")
        digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
        parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return np.dot(linear, [0.2126, 0.7152, 0.0722])

    shades = re.findall(r"\.(k\d) \{ background: (#\w+)(?:; color: (#\w+))? \}", STYLE)
    grey = re.search(r"\.none \{ color: (#\w+) \}", STYLE)
    assert len(shades) == 7
    for name, behind, ink in [*shades, ("none", "#fff", grey[1])]:
        low, high = sorted((luminance(behind), luminance(ink or "#222")))
        assert (high + 0.05) / (low + 0.05) >= 4.5, name
