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
ANY_SETTING = _promise("any setting can be mistyped")
ANY_PATH = _promise("any path works, or is refused")
FOREIGN = _promise("a foreign checkpoint cannot harm")
TERMINAL = _promise("text on a terminal cannot harm")
OLD_CHECKPOINTS = _promise("old checkpoints stay loadable")
