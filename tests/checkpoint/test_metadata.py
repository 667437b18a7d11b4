"""Metadata: back from JSON as they were, and validated."""

import json
import math

import pytest
from small_checkpoint import metadata

from jaxchar.checkpoint.metadata import Metadata
from jaxchar.errors import JaxcharError


def test_metadata_come_back_from_json():
    assert Metadata.from_json(json.loads(json.dumps(metadata(3, 1.5).to_json()))) == metadata(3, 1.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", -1),
        ("step", True),
        ("steps_per_epoch", 0),
        ("corpus", {"source": "x"}),
        ("metrics", {"unheard of": 1.0}),
        ("best", {"val_loss": "low"}),
        ("last", {"step": 3}),
        ("logs", {"metrics.jsonl": -1}),
        ("versions", []),
    ],
)
def test_what_is_not_as_it_should_be_is_refused_by_name(name, value):
    with pytest.raises(JaxcharError, match=f"its metadata is malformed: {name}"):
        Metadata.from_json({**metadata(3).to_json(), name: value})


def test_the_validation_loss_is_infinite_where_there_is_none():
    assert metadata(3, 1.5).validation_loss == 1.5
    assert metadata(3).validation_loss == metadata(3, math.nan).validation_loss == math.inf
