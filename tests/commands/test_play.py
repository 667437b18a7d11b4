"""The command that serves the page: what it prints, and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest
from runs import TINY, quiet

from jaxchar import play
from jaxchar.training.launch import fit


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    fit(TINY, run_dir=folder, display=quiet())
    return folder


def test_it_prints_its_address_serves_there_and_ends_with_ctrl_c(run):
    command = [sys.executable, "-m", "jaxchar.play", "--ckpt", str(run), "--port", "0", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as serving:
        address = serving.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        with urllib.request.urlopen(f"{address}api/models", timeout=30) as answer:
            assert json.load(answer)["models"][0]["name"] == "tiny"
        os.kill(serving.pid, signal.SIGINT)
        _, said = serving.communicate(timeout=30)
    assert serving.returncode == 0
    assert "Traceback" not in said and "Ctrl-C ends it." in said


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["/nowhere"], "the run '/nowhere' cannot be used"),
        ([], "there is no run in runs/ here"),
        (["RUN", "--port", "99999"], "--port must be a number from 0 to 65,535"),
    ],
)
def test_what_cannot_be_served_is_one_line(run, typed, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as leaving:
        play.main([str(run) if word == "RUN" else word for word in typed])
    error = capsys.readouterr().err
    assert leaving.value.code == 2 and error.count("\n") == 1 and said in error
