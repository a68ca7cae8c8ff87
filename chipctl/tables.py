"""Maps of numbers to and from the files people keep them in: NumPy's .npy and comma-separated text."""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def load_map(path: Path) -> NDArray[np.float64]:
    """A two-dimensional map of numbers from a .npy or .csv file.

    Raises:
        ValueError: The file holds no such map; the message says what to do.
        OSError: It cannot be read.
    """
    try:
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False)
        else:
            lines = path.read_text(encoding="utf-8").split()
            values = np.array([line.split(",") for line in lines], np.float64)
    except (ValueError, EOFError, TypeError):
        raise ValueError(f"{path} is neither a .npy array nor lines of comma-separated numbers") from None
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
        raise ValueError(f"{path} does not hold real numbers")
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"{path} holds an array of shape {values.shape}; a map has rows and columns")
    return values.astype(np.float64)


def to_npy(values: NDArray[np.generic]) -> bytes:
    """`values` as a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def to_csv(values: NDArray[np.float64]) -> bytes:
    """`values` as comma-separated text, exact to the bit."""
    lines = (",".join(repr(float(value)) for value in row) for row in values)
    return ("\n".join(lines) + "\n").encode()
