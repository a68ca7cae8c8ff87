"""The import contracts that `lint-imports` checks are there and cover every package."""

import tomllib

import pytest


@pytest.fixture(scope="module")
def settings(repository):
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]


def contract(settings, **wanted):
    found = [c for c in settings["contracts"] if all(c.get(key) == value for key, value in wanted.items())]
    assert found, f"no import contract with {wanted}"
    return found[0]


def test_every_package_is_covered(settings, packages):
    assert sorted(settings["root_packages"]) == packages


def test_packages_stand_in_layers(settings):
    contract(settings, type="layers", layers=["(calibration)", "chipctl", "firmware_protocol"])


def test_the_control_stack_and_the_virtual_chip_never_meet(settings):
    contract(settings, type="independence", modules=["chipctl", "sim_chip"])


def test_the_protocol_knows_nobody(settings):
    known = contract(settings, source_modules=["firmware_protocol"])["forbidden_modules"]
    assert known == [package for package in settings["root_packages"] if package != "firmware_protocol"]


def test_rooms_of_the_control_stack_stand_in_layers(settings):
    assert contract(settings, type="layers", containers=["chipctl"])["layers"]
