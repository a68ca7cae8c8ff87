"""What every test may ask for."""

import os
import shutil
from collections.abc import Callable

import pytest

pytest_plugins = ["chipctl.pytest_plugin"]


@pytest.fixture(scope="session")
def system_program() -> Callable[..., str]:
    """The path of a program of the system; without it the test skips and names the Debian package.

    With CHIPCTL_REQUIRE_EXTRAS set, as in CI, it fails instead.
    """

    def find(name: str, *, package: str) -> str:
        path = shutil.which(name)
        if path is not None:
            return path
        reason = f"{name} is not installed: apt-get install {package}"
        if os.environ.get("CHIPCTL_REQUIRE_EXTRAS"):
            pytest.fail(reason)
        pytest.skip(reason)

    return find
