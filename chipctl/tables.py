"""Maps of numbers to and from the files people keep them in: NumPy's .npy and comma-separated text."""

import io
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

_SHOWN: Final = 20
"""Characters of a wrong line that are shown."""


def load_map(path: Path) -> NDArray[np.float64]:
    """A two-dimensional map of numbers from a .npy or .csv file.

    In text, empty lines and what stands behind a # are left out.

    Raises:
        ValueError: The file holds no such map; the message says where, and what to do.
        OSError: It cannot be read.
    """
    try:
        values = np.load(path, allow_pickle=False) if path.suffix == ".npy" else None
        text = "" if path.suffix == ".npy" else path.read_text(encoding="utf-8-sig")
    except (ValueError, EOFError, TypeError):
        raise ValueError(f"{path} is neither a .npy array nor lines of comma-separated numbers") from None
    if values is None:
        values = _rows(path, text)
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
        raise ValueError(f"{path} does not hold real numbers")
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"{path} holds an array of shape {values.shape}; a map has rows and columns")
    return values.astype(np.float64)


def _rows(path: Path, text: str) -> NDArray[np.float64]:
    rows: list[list[float]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not (words := line.partition("#")[0].strip()):
            continue
        try:
            rows.append([float(word) for word in words.split(",")])
        except ValueError:
            begins = words if len(words) <= _SHOWN else f"{words[:_SHOWN]}…"
            raise ValueError(
                f"{path}, line {number}: {begins!r} is no line of comma-separated numbers (nan for none, a "
                "point before decimals)"
            ) from None
        if len(rows[-1]) != len(rows[0]):
            raise ValueError(
                f"{path}, line {number}: {len(rows[-1])} numbers, where the first line has {len(rows[0])}"
            )
    return np.array(rows, np.float64, ndmin=2)


def to_npy(values: NDArray[np.generic]) -> bytes:
    """`values` as a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def to_csv(values: NDArray[np.float64]) -> bytes:
    """`values` as comma-separated text, exact to the bit."""
    lines = (",".join(repr(float(value)) for value in row) for row in values)
    return ("\n".join(lines) + "\n").encode()
