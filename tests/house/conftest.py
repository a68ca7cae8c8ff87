"""The repository and the modules of its packages."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def repository():
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def packages(repository):
    return sorted(path.parent.name for path in repository.glob("*/__init__.py"))


@pytest.fixture(scope="session")
def modules(repository, packages):
    found = [path for name in packages for path in sorted((repository / name).rglob("*.py"))]
    return {path.relative_to(repository).as_posix(): path.read_text(encoding="utf-8") for path in found}
