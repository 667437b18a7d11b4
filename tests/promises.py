"""What jaxchar promises, in the words of docs/trust.md; `make prove` counts what was tried and what held.

A test says what it proves with ``pytestmark`` or a decorator, ``@promises.KILLED``. It counts as one case
tried, unless it tells how many it tried itself, with the fixture ``tried``.
"""

import pytest


def _promise(text: str) -> pytest.MarkDecorator:
    return pytest.mark.promise(text)


KILLED = _promise("killed at any moment, a run loses only what came after its last checkpoint")
EVERY_STEP = _promise("resumed at any step, a run ends in the same bits")
SIGNALS = _promise("SIGTERM and Ctrl-C save and leave; no step that was done is lost")
DAMAGE_REFUSED = _promise("nothing damaged is trained on")
DAMAGE_PASSED_OVER = _promise("damage does not stop the user")
FAILING_SAVES = _promise("saves that fail are loud, and cost no older checkpoint")
ONE_WRITER = _promise("one process writes a run")
NOTHING_MIXED_UP = _promise("nothing is mixed up in silence")
NEW_CHARACTERS = _promise("new characters leave the weights of the known ones as they were")
DEVICES = _promise("checkpoints move between devices")
DIVERGENCE = _promise("divergence is caught at its step")
ANY_BYTES = _promise("any bytes can be offered as a corpus")
ENCODINGS = _promise("text in another encoding is read as told, or named and refused")
FILES = _promise("packed files and folders are read as people have them")
TEXT_FOUND = _promise("a run's text is known by its SHA-256 wherever it lies, and no other is taken for it")
ANY_SETTING = _promise("any setting can be mistyped")
ANY_PATH = _promise("any path works, or is refused")
FOREIGN = _promise("a foreign checkpoint cannot harm")
TERMINAL = _promise("text on a terminal cannot harm")
VERBATIM = _promise("what is shown is the text, character by character")
DISPLAY = _promise("progress fits any terminal, and is plain lines where it must be")
AMBIENT = _promise("settings of the process change no text and no training, or are refused")
HOST = _promise("jaxchar leaves the process that calls it as it was")
ANY_COMPILER = _promise("any compiler and any cache folder will do, or none")
OLD_CHECKPOINTS = _promise("old checkpoints stay loadable")
DISPLAY_GONE = _promise("a run goes on without a display that fails, to its end and its exit code")
REPORTS = _promise("a picture or a summary that fails fails alone")
FINISHED = _promise("a finished run can be resumed to its end")
ANY_KIND = _promise("numbers, lists and paths of any kind are taken, or refused")
SHORT_ERRORS = _promise("an error is a few lines, however long the value")
CALLERS_WORDS = _promise("a message is in the words of the caller")
TEXT_IN_MEMORY = _promise("a text in memory trains as a file with it does")
PROMPTS_FIT = _promise("a prompt or a stop is read as the training text was, or refused")
CHOSEN = _promise("what is chosen for a text can be trained in the time, and what the user sets is kept")
DOCUMENTS = _promise("short texts are read, shuffled and held out whole")
OUTPUT_WHOLE = _promise("what is written to a file or a pipe is UTF-8, whatever the locale")
