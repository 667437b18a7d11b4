"""The report on an accelerator: sections that fail or hang, the budget, the page."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxchar.benchmark import baselines, cells, events
from jaxchar.benchmark.baselines import LeftOut, ours
from jaxchar.benchmark.cells import Cell
from jaxchar.benchmark.report import __main__ as report
from jaxchar.benchmark.report import (
    clock,
    correctness,
    facts,
    footprints,
    measure,
    page,
    picture,
    races,
    sections,
    tables,
    test_runs,
)
from jaxchar.benchmark.report.clock import Clock
from jaxchar.benchmark.report.sections import Outcome, Section, run_sections
from jaxchar.benchmark.show import progress
from jaxchar.recurrence import fused

ROOT = Path(__file__).parents[2]
TINY = Cell("tiny", 5, 8, 1, 16, vocab_size=7, clip_norm=1.0)
HANGS = "import time; time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {HANGS}"


def fake(name: str, script: str, share: float = 1.0) -> Section:
    return Section(name, f"section {name}", share, (sys.executable, "-c", script))


@pytest.fixture
def hurried(monkeypatch):
    """No section takes long to begin, to end, or to write down."""
    for name, seconds in {"FEWEST_SECONDS": 0.05, "GRACE": 0.3, "PAGE_SECONDS": 0.0}.items():
        monkeypatch.setattr(sections, name, seconds)


# ---- sections ------------------------------------------------------------------------------------


def test_a_section_that_fails_or_hangs_is_named_and_the_others_go_on(hurried):
    found = run_sections(
        [
            fake("one", "print('{\"a\": 1}')"),
            fake("two", "print('{\"a\": 2}', flush=True); raise SystemExit('no room')"),
            fake("three", "import os; os.kill(os.getpid(), 9)"),
            fake("four", f'print(\'{{"a": 4}}\\n{{"half\', flush=True); {HANGS}', share=0.3),
            fake("five", "print('{\"a\": 5}')"),
        ],
        8.0,
        progress,
    )
    assert [outcome.said.split(";")[0] for outcome in found] == [
        "finished",
        "failed: it left with code 1: no room",
        "failed: it was ended by SIGKILL",
        f"stopped after {found[3].limit:.0f} s, its limit",
        "finished",
    ]
    assert [outcome.rows for outcome in found] == [[{"a": 1}], [{"a": 2}], [], [{"a": 4}], [{"a": 5}]]
    assert [outcome.finished for outcome in found] == [True, False, False, False, True]


def test_the_budget_holds_although_all_hang_and_what_did_not_fit_is_said(hurried, monkeypatch):
    began = time.monotonic()
    found = run_sections([fake("a", HANGS), fake("b", STUBBORN), fake("c", HANGS)], 1.5, progress)
    assert time.monotonic() - began < 1.5 + 2 * sections.GRACE + 1
    assert all(outcome.said.startswith("stopped after") for outcome in found)
    monkeypatch.setattr(sections, "FEWEST_SECONDS", 1.0)
    late = run_sections([fake("a", HANGS, share=9), fake("b", "")], 1.2, progress)
    assert late[1].said == "left out: no time was left" and late[1].rows == []


def test_what_a_section_does_not_need_passes_to_those_after_it(hurried):
    first, second = run_sections([fake("a", ""), fake("b", "")], 100.0, progress)
    assert first.limit == pytest.approx(50, abs=1)
    assert second.limit > 80


def test_a_section_is_told_its_seconds_and_the_platform_that_the_first_one_found(hurried):
    tell = "import sys, json, os; print(json.dumps({'platform': 'gpu', 'told': sys.argv[1:]}))"
    first, second = run_sections([fake("machine", tell), fake("b", tell)], 20.0, progress)
    assert first.rows[0]["told"] == [f"{first.limit * sections.MOST_OF_LIMIT:.1f}"]
    assert second.rows[0]["told"][1:] == ["gpu"]


def test_a_section_takes_its_processes_with_it(hurried, tmp_path):
    child = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', '{HANGS}']); "
    child += f"open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid)); {HANGS}"
    run_sections([fake("a", child)], 1.5, progress)
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not alive(pid):
            return
        time.sleep(0.05)
    pytest.fail("it goes on")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")  # where it is: a process that has ended may wait for its parent
    return not stat.is_file() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_every_section_can_be_measured_and_shown():
    for section in sections.SECTIONS:
        assert callable(measure.measurement(section.name))
        assert section.name in tables.TABLES
        assert section.command[-1] == section.name


def test_a_process_measures_its_section_whatever_is_printed(tmp_path):
    script = (
        "import sys; from jaxchar.benchmark.report import measure; "
        "measure.measurement = lambda name: lambda platform, clock: "
        "(print('hi') or {'name': name, 'platform': platform, 'left': clock.left() > 6} for _ in range(2)); "
        "sys.argv = ['measure', 'race', '7', 'cpu']; measure.main()"
    )
    outcome = sections.run_section(Section("a", "a", 1, (sys.executable, "-c", script)), 60.0, "")
    assert outcome.said == "finished"
    assert outcome.rows == [{"name": "race", "platform": "cpu", "left": True}] * 2


# ---- the time of a section -----------------------------------------------------------------------


def test_an_item_is_begun_if_the_one_before_it_says_that_it_fits(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(clock.time, "monotonic", lambda: now[0])
    begun = []
    for seconds, fits in Clock(10).in_time([3, 4, 2, 1]):
        begun.append(fits)
        now[0] += seconds if fits else 0
    assert begun == [True, True, False, False]  # 3 are left, and the second took 4


# ---- what is measured ----------------------------------------------------------------------------


def test_variants_are_measured_for_the_report_alone():
    names = set(baselines.baselines_named(None, on_accelerator=True))
    assert not names & {"jaxchar-scan", "jaxchar-unroll-8"}
    assert {"jaxchar", "jaxchar-one-step", "jaxchar-devices", "cudnn"} <= names


def test_an_implementation_that_there_is_not_is_left_out(monkeypatch):
    with pytest.raises(LeftOut, match="jaxchar has no implementation magic yet"):
        ours.prepare(TINY, "float32", implementation="magic")
    with pytest.raises(LeftOut, match="cuda computes on NVIDIA cards"):
        ours.prepare(TINY, "float32", implementation="cuda")
    monkeypatch.setattr(ours.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(ours.cuda_plan, "capability_here", lambda: 9.0)
    monkeypatch.setattr(ours.nvrtc, "why_not", lambda: "")
    with pytest.raises(LeftOut, match=r"a layer of 1024 units in float32, .* does not fit"):
        ours.prepare(dataclasses.replace(TINY, hidden_size=1024), "float32", implementation="cuda")
    with pytest.raises(LeftOut, match="native computes in float32 on a processor"):
        ours.prepare(TINY, "bfloat16", implementation="native")


def test_steps_are_unrolled_as_told(monkeypatch):
    scan, told = fused.lax.scan, []

    def watched(*arguments, unroll, **options):
        told.append(unroll)
        return scan(*arguments, unroll=unroll, **options)

    monkeypatch.setattr(fused.lax, "scan", watched)
    for number in (None, 2):
        made = ours.prepare(TINY, "float32", implementation="fused", unroll=number)
        made.train(1)
        assert set(told) == {number or 1}
        told.clear()
        made.loss_and_gradient()
        assert set(told) == {number or 1}
        told.clear()


def test_a_plan_takes_what_fits_the_platform():
    plan = races.plan_of("gpu", ("jaxchar",), races.RACED)
    assert [cell.name for cell in plan.cells] == list(races.RACED)
    assert plan.dtypes == ("float32", "tf32", "bfloat16")
    here = races.plan_of("cpu", ("jaxchar",), races.RACED)
    assert {cell.name for cell in here.cells} == set(races.RACED) & {cell.name for cell in cells.CELLS}
    assert "cudnn" in races.others("gpu") and "cudnn" not in races.others("cpu")


@pytest.mark.parametrize(("section", "of"), [(races.race, 3 * len(races.RACED)), (races.unrolls, 3)])
def test_what_has_no_time_left_is_a_row(section, of, monkeypatch):
    def event(cell, dtype, *_, **__):
        return {"cell": cell.name, "dtype": dtype, "contenders": {}}

    monkeypatch.setattr(events, "training", event)
    monkeypatch.setattr(events, "compared", event)
    monkeypatch.setattr(races, "worker_command", lambda name: [sys.executable, "-c", "input(); print('{}')"])
    monkeypatch.setattr(
        Clock, "in_time", lambda self, items: [(one, at == 0) for at, one in enumerate(items)]
    )
    rows = list(section("gpu", Clock(1)))
    assert rows[0]["cell"] == "words_generator" and rows[0]["dtype"] == "float32"
    assert [row["left_out"] for row in rows[1:]] == ["no time was left"] * (of - 1)


class Answers:
    """A worker that answers at once, with one gradient in a file."""

    def __init__(self, name: str, off: float) -> None:
        self.name, self.off, self.request = name, off, {}

    def send(self, request):
        self.request = request

    def receive(self, patience=0.0):
        if self.request["do"] == "start":
            return {}
        np.savez(self.request["gradient"], head=np.array([1.0, 2.0 + self.off]))
        return {"loss": 3.0 + self.off}


def test_correctness_tells_right_from_wrong(tmp_path):
    off = {"float64": 0.0, "jaxchar-scan": 1e-6, "jaxchar-fused": 1e-3}
    started = {name: Answers(name, off.get(name, 0.0)) for name in ("float64", *correctness.NAMES)}
    rows = list(correctness.compare(TINY, ("float32", "tf32"), started, tmp_path))
    assert [row["dtype"] for row in rows] == ["float32", "tf32"]
    for row, holds in zip(rows, (False, True), strict=True):
        assert row["contenders"]["jaxchar-scan"]["holds"]
        assert row["contenders"]["jaxchar-fused"]["holds"] is holds
        assert row["contenders"]["jaxchar-fused"]["gradient_error"] == pytest.approx(5e-4, rel=0.1)


def test_what_nobody_judges_does_not_hold(tmp_path):
    found = correctness._judged({"loss": 3.0}, {"failed": "it fell"}, {}, "jaxchar-scan", "float32")
    assert found == {"failed": "nobody can judge its work: it fell"}


def test_the_memory_of_a_step_is_measured_and_planned():
    from jaxchar.benchmark.worker import Server

    found = Server(lambda: ours, {}).answer({"do": "start"})
    server = Server(lambda: ours, {"implementation": "fused"})
    assert server.answer({"do": "start"}) == found == {}
    found = server.answer({"do": "footprint", "cell": TINY.to_json(), "dtype": "float32"})
    assert found["host_bytes"] > 1e6 and found["device_bytes"] is None
    assert found["planned"]["arguments"] > 4 * 3 * TINY.num_parameters  # weights and Adam's moments
    table = tables.tables_of("memory", [{"cell": "tiny", "dtype": "float32", "contender": "jaxchar"} | found])
    assert table[0].rows[0][:4] == ("tiny", "float32", "jaxchar", "-")


def test_memory_that_cannot_be_measured_says_why(monkeypatch):
    monkeypatch.setattr(footprints, "worker_command", lambda name: [sys.executable, "-c", "exit('no card')"])
    found = footprints.footprint(TINY, "float32", "jaxchar", "cpu")
    assert found == {"failed": "it left with code 1: no card"}


def test_facts_have_no_secrets_and_survive_a_machine_without_tools(monkeypatch):
    monkeypatch.setenv("NVIDIA_API_KEY", "secret")
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(events, "describe_machine", lambda: {"platform": "cpu", "device": "a processor"})
    monkeypatch.setattr(events, "measure_machine", lambda *_: {"peak": {"float32": 1e9}, "bandwidth": 1e9})
    monkeypatch.setenv("PATH", "")
    about, measured = facts.machine("", Clock(1))
    assert about["card"] == {} and about["commit"] == ""
    assert "NVIDIA_API_KEY" not in about["settings"] and "XLA_FLAGS" in about["settings"]
    (table,) = tables.tables_of("machine", [about, measured])
    assert ("best product, float32", "1 GFLOP/s") in table.rows


# ---- tests ---------------------------------------------------------------------------------------


def a_source(folder, text: str):
    (folder / "tests").mkdir()
    (folder / "tests" / "test_it.py").write_text(text)
    return folder


def test_tests_are_counted_and_those_that_fail_are_named(tmp_path):
    source = a_source(
        tmp_path,
        "import os, pytest\n"
        "def test_right(): assert os.environ['WHERE'] == 'there'\n"
        "def test_wrong(): assert False\n"
        "@pytest.mark.skip(reason='no card')\ndef test_skipped(): pass\n",
    )
    found = test_runs.run_tests(("tests",), {"WHERE": "there"}, Clock(60), source)
    assert found["exit_code"] == 1
    assert (found["passed"], found["failures"], found["skipped"]) == (1, 1, 1)
    assert found["names"] == ["tests.test_it.test_wrong"] and found["why_skipped"] == ["no card"]
    (table,) = tables.tables_of("tests", [found])
    assert (
        table.rows == [("tests", "FAILED: 1", "1", "1", "1")]
        and "failed: tests.test_it.test_wrong" in table.notes
    )


class UntilTheSecondTest:
    """A clock whose time is over when the second test has begun, however long pytest takes to get there."""

    def __init__(self, begun):
        self._begun = begun

    def left(self):
        give_up = time.monotonic() + 60
        while not self._begun.exists() and time.monotonic() < give_up:
            time.sleep(0.05)
        return 0.1


def test_tests_that_hang_are_stopped_and_those_before_them_counted(tmp_path):
    begun = tmp_path / "begun"
    second = f"def test_two():\n    open({str(begun)!r}, 'w').close()\n    time.sleep(60)\n"
    source = a_source(tmp_path, f"import time\ndef test_one(): pass\n{second}")
    found = test_runs.run_tests(("tests",), {}, UntilTheSecondTest(begun), source)
    assert found["exit_code"] is None and found["passed"] == 1
    assert "stopped, its time was over" in tables.tables_of("tests", [found])[0].rows[0]


def test_without_the_source_there_are_no_tests(tmp_path):
    assert "not installed" in test_runs.run_tests(("tests",), {}, Clock(1), tmp_path)["left_out"]


# ---- the page ------------------------------------------------------------------------------------

RATIO = {"median": 2.0, "lowest": 1.5, "highest": 2.5}
RESULT = {"rate": 10.0, "ratio": RATIO, "compile_seconds": 1.0, "gradient_error": 1e-6, "host_bytes": 1e6}
EVENT = {
    "cell": TINY.to_json(),
    "dtype": "float32",
    "reference": "jaxchar-scan",
    "contenders": {
        "jaxchar-scan": RESULT,
        "jaxchar-fused": RESULT | {"device_bytes": 7e6},
        "jaxchar-native": {"failed": "it fell <down>"},
        "jaxchar-cuda": {"left_out": "cuda computes on NVIDIA cards"},
    },
}
LATE = {"cell": TINY.to_json(), "dtype": "tf32", "left_out": "no time was left"}
OUTCOMES = [
    Outcome("machine", "Machine", "finished", 9.0, 1.0, [{"platform": "gpu", "device": "H100 <x>"}]),
    Outcome("implementations", "Implementations", "finished", 9.0, 1.0, [EVENT, LATE]),
    Outcome("writing", "Writing", "stopped after 9 s, its limit", 9.0, 9.0, [EVENT | {"what": "write"}]),
    Outcome("memory", "Memory", "left out: no time was left", 0.0, 0.0, []),
]


def test_the_page_says_what_was_found_and_what_was_not(tmp_path):
    image = tmp_path / "speeds.png"
    assert picture.draw_speeds(OUTCOMES, "a title", image)
    made = page.page(page.Report("the command", "2026-01-01T00:00", 25, 60.0, OUTCOMES), image)
    for words in (
        "jaxchar on H100 &lt;x&gt;",
        "the command",
        "1.0 of 25 minutes",
        "jaxchar, cuda: left out: cuda computes on NVIDIA cards",
        "jaxchar, native: FAILED: it fell &lt;down&gt;",
        "left out: no time was left",
        "stopped after 9 s",
        "jaxchar, scan (= 1)",
        "2.00 (1.50, 2.50)",
        '<img alt="Speeds of training and writing" src="data:image/png;base64,',
    ):
        assert words in made, words
    assert "<x>" not in made and "<down>" not in made


@pytest.mark.parametrize(
    ("section", "rows", "words"),
    [
        (
            "tests",
            [{"exit_code": 0, **dict.fromkeys(tables.COUNTS, 2)} | {"failures": 0}],
            "2 passed, 0 failed, 2 skipped",
        ),
        (
            "compiled",
            [{"exit_code": 1, **dict.fromkeys(tables.COUNTS, 1)}],
            "FAILED: 1 passed, 1 failed, 1 skipped",
        ),
        ("correctness", [{"contenders": {"a": {"holds": True}, "b": {"left_out": "no"}}}], "1 of 1 hold"),
        ("correctness", [{"contenders": {"a": {"holds": True}, "b": {"holds": False}}}], "IS OFF: 1 of 2"),
        ("correctness", [{"contenders": {"a": {"failed": "it fell"}}}, LATE], "IS OFF: 1 of 1; 1 left out"),
        ("race", [EVENT, LATE], "1 of 2 measured; 1 left out"),
    ],
)
def test_the_list_at_the_top_says_what_was_found(section, rows, words):
    assert tables.verdict(section, rows) == words


def test_without_figures_there_is_no_picture(tmp_path):
    assert not picture.draw_speeds(OUTCOMES[:1], "a title", tmp_path / "speeds.png")
    made = page.page(page.Report("c", "2026-01-01", 25, 60.0, OUTCOMES[3:]), None)
    assert "<img" not in made and "an unknown device" in made


def test_the_command_writes_a_page_and_its_figures(hurried, tmp_path, capsys):
    row = json.dumps({"platform": "cpu", "device": "a processor"})
    asked = [fake("machine", f"print({row!r})"), fake("race", "raise SystemExit('no room')")]
    out = tmp_path / "report.html"
    report.main(["--out", str(out), "--minutes", "1"], asked)
    said = capsys.readouterr().out
    assert "section race: failed: it left with code 1: no room" in said and str(out) in said
    figures = json.loads(out.with_suffix(".json").read_text())
    assert figures["outcomes"][0]["rows"] == [json.loads(row)]
    assert figures["command"].endswith("--minutes 1") and "a processor" in out.read_text()


def test_a_picture_that_cannot_be_drawn_costs_no_page(tmp_path, monkeypatch, capsys):
    def fails(*_):
        raise ValueError("no ink")

    monkeypatch.setattr(report, "draw_speeds", fails)
    report.write(page.Report("c", "2026-01-01", 25, 60.0, OUTCOMES), tmp_path / "report.html")
    assert "there is no picture: no ink" in capsys.readouterr().err
    assert "H100" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--minutes", "0"], "minutes must be a number of at least 1"),
        (["--minutes", "nan"], "minutes must be a number of at least 1"),
        (["--out", "report.md"], "out must be a file that ends in .html"),
        (["--out", "no/such/report.html"], "in a folder that exists"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, words, capsys):
    with pytest.raises(SystemExit) as leaving:
        report.main(arguments, [])
    assert leaving.value.code == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_make_runs_it_with_the_other_libraries_and_the_tests_tools(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    programs = tmp_path / ".venv-peers" / "bin"
    programs.mkdir(parents=True)
    (tmp_path / ".venv").mkdir()
    for file in (".venv/ready", ".venv-peers/ready"):
        (tmp_path / file).touch()
    (programs / "python").write_text('#!/bin/sh\necho "$@"\n')
    (programs / "python").chmod(0o755)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }
    command = ["make", "-s", "accelerator-report", "EXTRA=cuda12", "MINUTES=10", "ARGS=--out a.html"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == [
        "-m pip install --quiet --editable .[dev]",
        "-m pip install --quiet --editable .[cuda12]",
        "-m jaxchar.benchmark.report --minutes 10 --out a.html",
    ]
