"""One process per port: a lock that names its holder."""

import contextlib
import hashlib
import json
import os
import shlex
import sys
import warnings
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout
from platformdirs import user_runtime_path

from chipctl.errors import PortBusy


class Ownership:
    """The right to use a port, held until `release` or the end of the process."""

    def __init__(self, lock: FileLock, note: Path) -> None:
        self._lock = lock
        self._note = note

    @classmethod
    def take(cls, address: str, port: Path) -> Self:
        """Become the owner of `port`.

        Raises:
            PortBusy: Another process is; the message names it.
        """
        lock, note = _files(port)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise PortBusy(f"{address} is in use by {_holder(note)}; stop it or wait for it") from None
        note.write_text(json.dumps({"pid": os.getpid(), "command": shlex.join(sys.argv), "port": address}))
        return cls(lock, note)

    def release(self) -> None:
        """Let others use the port."""
        with contextlib.suppress(OSError):
            self._note.unlink(missing_ok=True)
        self._lock.release()


def _files(port: Path) -> tuple[FileLock, Path]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = user_runtime_path("chipctl", ensure_exists=True)
    real = str(port.resolve())
    stem = Path(real).name + "-" + hashlib.sha256(real.encode()).hexdigest()[:8]
    return FileLock(folder / f"{stem}.lock"), folder / f"{stem}.json"


def _holder(note: Path) -> str:
    try:
        holder = json.loads(note.read_text())
        return f"process {holder['pid']} ({holder['command']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another chipctl process"
