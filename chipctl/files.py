"""Writing a file so that it is either the old one or the new one, never half of either."""

import os
import uuid
from pathlib import Path


def replace_file(path: Path, data: bytes) -> None:
    """Write `data` to `path` at once; on any failure the old file is untouched.

    Raises:
        OSError: The folder is missing, not writable, or full.
    """
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with fresh.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
