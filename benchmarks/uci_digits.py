"""Digits that are not MNIST's, as a folder of idx files: `python -m benchmarks.uci_digits DIR`.

The 1797 handwritten digits of Alpaydin and Kaynak (UCI, Optical Recognition of Handwritten Digits), which
scikit-learn brings along: 8×8 pixels of 0 to 16 ink, brought to 24×24 in the middle of 28×28 as chipctl
crops them. Needs scikit-learn.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def write_idx(folder: Path, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
    """Write images (n, 28, 28) and their classes as MNIST's training set is."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in (("images-idx3", images), ("labels-idx1", labels)):
        head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        (folder / f"train-{name}-ubyte").write_bytes(head + array.tobytes())


def uci_digits() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images (1797, 28, 28) and classes."""
    from sklearn.datasets import load_digits

    bundle = load_digits()
    small = np.clip(np.round(bundle.images * (255 / 16)), 0, 255).astype(np.uint8)
    large = [Image.fromarray(image).resize((24, 24), Image.Resampling.BICUBIC) for image in small]
    return np.pad(np.stack(large), ((0, 0), (2, 2), (2, 2))), bundle.target.astype(np.uint8)


if __name__ == "__main__":
    write_idx(Path(sys.argv[1]), *uci_digits())
