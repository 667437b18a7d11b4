"""What is recorded of the machine and the libraries is plain JSON."""

import json

from jaxchar.checkpoint.provenance import PACKAGES, describe_machine, library_versions


def test_versions_are_those_of_every_package_that_computes():
    versions = library_versions()
    assert set(versions) == {"jaxchar", "python", *PACKAGES}
    assert all(isinstance(version, str) and version for version in versions.values())


def test_the_machine_is_described_in_json():
    described = describe_machine(3)
    assert json.loads(json.dumps(described)) == described
    assert described["device_count"] == 3
