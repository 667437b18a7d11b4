"""The machine: cores, processor and memory are what the operating system says."""

import os

import pytest

from jaxchar.machine import kind_of_processor, memory_bytes, num_cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no processor affinity here")
def test_cores_are_those_that_this_process_may_use():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert num_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert num_cores() == len(before)


def test_a_kind_of_processor_is_a_name_for_a_folder():
    assert kind_of_processor() == kind_of_processor()
    assert "/" not in kind_of_processor()


def test_memory_is_a_number_of_bytes():
    assert memory_bytes() > 2**28
