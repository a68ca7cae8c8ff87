"""Where a result comes from: versions, source revision, operator, command line."""

import getpass
import platform
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

_DISTRIBUTION = "chipctl"


def package_versions() -> dict[str, str]:
    """Versions of this distribution and of all it requires, as installed."""
    try:
        required = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return {}
    names = [re.split(r"[^\w.-]", entry)[0] for entry in required if "extra ==" not in entry]
    versions = {}
    for name in [_DISTRIBUTION, *sorted(names, key=str.lower)]:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "missing"
    return versions


def source_revision() -> str | None:
    """The git commit of the installed source, `+changes` when it was edited; None outside git.

    A package that merely lies inside somebody's repository without being part of it has none.
    """
    here = Path(__file__)
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return None
    revision = _git(here.parent, "rev-parse", "HEAD")
    changed = _git(here.parent, "status", "--porcelain", "--untracked-files=no")
    return f"{revision}+changes" if revision and changed else revision


def operator() -> str | None:
    """The user's login name, None where the system knows none (a container without a user)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def command_line() -> list[str]:
    """The command as it was typed, the program without its folder."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def python_version() -> str:
    """Interpreter, version and machine: `CPython 3.11.7 on Linux x86_64`."""
    interpreter = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{interpreter} on {platform.system()} {platform.machine()}"


def _git(directory: Path, *arguments: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    try:
        answer = subprocess.run(
            [git, "-C", str(directory), *arguments], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
