"""A server for the tests of the page: the real one's interface, answered by a model of counts.

It also keeps what it was asked, and can be told to write a given text, or slowly.
"""

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
from playground import fake_model

STATIC = Path(__file__).parents[2] / "jaxchar" / "playground" / "static"
TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
# The policy that the page has to live with: its own files, and nothing else.
POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
PATTERNS = (
    ("line", "position in the line", "Counts the characters since the last new line."),
    ("quotes", "inside quotation marks", "Between an opening and a closing double quote."),
    ("capitals", "upper case", "Capital letters."),
)
PIECE = 4  # characters
Events = Iterator[tuple[str, dict]]


class FakeServer(ThreadingHTTPServer):
    """Serves the page and its interface on a free port of this machine."""

    daemon_threads = True

    def __init__(self) -> None:
        """Begin to serve, in a thread."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.reset()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def reset(self) -> None:
        """Forget what was asked, and write as the model does."""
        self.asked: list[tuple[str, dict]] = []
        self.broken_off: list[str] = []  # paths of streams that the page left
        self.writes: str | None = None  # a text to write instead of the model's
        self.pause = 0.0  # seconds before each piece
        self.goes_on = threading.Event()  # cleared: a text stops after its first piece until this is set
        self.goes_on.set()
        self.steps = list(fake_model.ORDERS)[:-1]  # checkpoints; more may come while a run goes on
        self.breaks: str | None = None  # the error in the midst of a text
        self.fails: str | None = None  # the error of every answer but the models
        self.live = threading.Event()  # set: the live run goes on to its end

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, request, client_address) -> None:
        """Say nothing of connections that the browser breaks off."""


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    server: FakeServer

    def log_message(self, *_) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        """Answer a file or a question without a body."""
        url = urlsplit(self.path)
        if url.path.startswith("/api/"):
            self.answer(url.path[5:], {key: value[0] for key, value in parse_qs(url.query).items()})
            return
        path = STATIC / (url.path.removeprefix("/static/") if url.path != "/" else "index.html")
        if path.parent == STATIC and path.is_file():
            self.reply(200, TYPES[path.suffix] + "; charset=utf-8", path.read_bytes())
        else:
            self.reply(404, "text/plain", b"no such file")

    def do_POST(self) -> None:
        """Answer a question with a body."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(self.path[5:], body)

    def answer(self, name: str, asked: dict) -> None:
        """Answer a question of the interface."""
        self.server.asked.append((name, asked))
        if self.server.fails and name != "models":
            self.reply(400, "application/json", json.dumps({"error": self.server.fails}).encode())
        elif name in STREAMS:
            self.stream(name, STREAMS[name](self.server, asked))
        else:
            self.reply(
                200,
                "application/json",
                json.dumps(self.models() if name == "models" else ANSWERS[name](asked)).encode(),
            )

    def models(self) -> dict:
        """Describe the models, with the checkpoints that there are by now."""
        answer = models({})
        for model in answer["models"]:
            model["steps"] = self.server.steps
        return answer

    def reply(self, status: int, kind: str, body: bytes) -> None:
        """Send a whole answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.end_headers()
        self.wfile.write(body)

    def stream(self, name: str, events: Events) -> None:
        """Send events until they end, or the page leaves."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            for event, data in events:
                self.wfile.write(f"event: {event}\ndata: {json.dumps(data)}\n\n".encode())
        except (BrokenPipeError, ConnectionResetError):
            self.server.broken_off.append(name)


# ---- what is answered ----------------------------------------------------------------------------


def models(_: dict) -> dict:
    """Describe two models: one of counts, and a small one with a name that is a trap."""
    common = {"vocabulary": len(fake_model.VOCABULARY), "steps": list(fake_model.ORDERS), "has_memory": False}
    first = {
        "id": "m1",
        "name": "topics",
        "cell": "lstm",
        "layers": list(fake_model.LAYERS),
        "best_step": 4000,
    }
    other = {"id": "m2", "name": "<b>second</b>", "cell": "gru", "layers": [32], "best_step": 2000}
    return {
        "models": [
            common
            | first
            | {"parts": ["h", "c", "i", "f", "g", "o"], "validation_loss": 1.471, "default_prompt": "The "},
            common
            | other
            | {"parts": ["h"], "validation_loss": None, "default_prompt": "If ", "has_memory": True},
        ]
    }


def alternatives(asked: dict) -> dict:
    """Say what could follow."""
    order = fake_model.order_of(asked["step"], asked["held"])
    shares = fake_model.probabilities(asked["prompt"] + asked["continued"], order)
    best = sorted(shares.items(), key=lambda each: -each[1])[: asked["count"]]
    return {"alternatives": [{"character": key, "probability": share} for key, share in best]}


def read(asked: dict) -> dict:
    """Say how surprising each character is."""
    text = asked["text"]
    surprises, ranks = fake_model.read(text, fake_model.order_of(asked["step"], asked["held"]))
    bits = np.array([each or 0 for each in surprises]) / np.log(2)
    width = min(40, len(text))
    passages = [
        {"begin": begin, "end": begin + width, "bits": float(bits[begin : begin + width].mean())}
        for begin in range(0, len(text) - width + 1, width)
    ]
    passages.sort(key=lambda passage: passage["bits"])
    return {
        "text": text,
        "surprises": surprises,
        "ranks": ranks,
        "bits_per_character": float(bits[1:].mean()) if len(text) > 1 else None,
        "characters": len(text),
        "worst": passages[::-1][:5],
        "best": passages[:5],
        "left_out": 0,
    }


def cells(asked: dict) -> dict:
    """Say what every unit of a layer held."""
    units = fake_model.LAYERS[asked["layer"]] if asked["model"] == "m1" else 32
    values = fake_model.activations(asked["text"], units)
    for each in asked["held"]:
        if each["layer"] == asked["layer"]:
            values[:, each["unit"]] = each["value"]
    scale = float(np.abs(values).max(initial=1e-9))
    packed = base64.b64encode(np.rint(values / scale * 127).astype(np.int8).tobytes()).decode()
    return {
        "text": asked["text"],
        "units": units,
        "characters": len(values),
        "scale": scale,
        "values": packed,
    }


def patterns(_: dict) -> dict:
    """Name the patterns to search for."""
    return {"patterns": [dict(zip(("id", "name", "explanation"), each, strict=True)) for each in PATTERNS]}


def curve(_: dict) -> dict:
    """Return the losses of a run that is finished."""
    steps = range(10, 4001, 10)
    train = [[step, 1.3 + 2.2 * 0.997**step + 0.05 * np.sin(step)] for step in steps]
    validation = [[step, 1.47 + 1.9 * 0.997**step] for step in range(250, 4001, 250)]
    return {"train": train, "validation": validation, "finished": True, "max_steps": 4000}


def write(server: FakeServer, asked: dict) -> Events:
    """Write a text, some characters at a time."""
    order = fake_model.order_of(asked["step"], asked["held"])
    begin = len(asked["continued"])
    text, surprises, written = asked["prompt"] + asked["continued"], [], ""
    for place in range(begin, begin + asked["length"]):
        if server.writes is not None and place >= len(server.writes):
            break
        drawn = fake_model.draw(text, order, asked["seed"], place)
        character, surprise = (server.writes[place], place % 8) if server.writes is not None else drawn
        text, written = text + character, written + character
        surprises.append(surprise)
        if len(written) >= PIECE or place == begin + asked["length"] - 1:
            time.sleep(server.pause)
            yield "piece", {"text": written, "surprises": surprises}
            server.goes_on.wait(10)
            if server.breaks:
                yield "error", {"error": server.breaks}
                return
            written, surprises = "", []
    if written:
        yield "piece", {"text": written, "surprises": surprises}
    yield "done", {"stopped": "length"}


def find(server: FakeServer, asked: dict) -> Events:
    """Rank units: the one that was made for a pattern first."""
    for done in range(0, 20_001, 5_000):
        time.sleep(server.pause)
        yield "progress", {"done": done, "of": 20_000}
    first = {"line": 0, "quotes": 1, "capitals": 2}.get(asked["pattern"], 3)
    order = [first, *(unit for unit in range(30) if unit != first)]
    found = [
        {
            "layer": 0,
            "unit": unit,
            "part": asked["part"],
            "auc": 0.99 * 0.985**rank,
            "sign": 1,
            "threshold": 0.1,
        }
        for rank, unit in enumerate(order)
    ]
    yield "units", {"characters": 20_000, "share": 0.21, "units": found}


def live(server: FakeServer, _: dict) -> Events:
    """Follow a run that has measured twice, and ends when the test says so."""
    yield (
        "metrics",
        {"train": [[100, 3.0], [200, 2.4]], "validation": [[200, 2.5]], "max_steps": 400, "finished": False},
    )
    yield "checkpoint", {"step": 250}
    server.live.wait(10)
    yield (
        "metrics",
        {"train": [[300, 2.0], [400, 1.8]], "validation": [[400, 1.9]], "max_steps": 400, "finished": False},
    )
    yield "checkpoint", {"step": 500}
    yield "finished", {}


ANSWERS = {
    "models": models,
    "alternatives": alternatives,
    "read": read,
    "cells": cells,
    "patterns": patterns,
    "curve": curve,
}
STREAMS = {"write": write, "find": find, "live": live}
