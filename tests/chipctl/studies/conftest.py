"""A folder of digits as MNIST's files have them."""

import numpy as np
import pytest


@pytest.fixture
def idx_folder(tmp_path):
    """Write images, of classes 0 to 9 in turn, into the test's folder of idx files, and name it."""
    folder = tmp_path / "digits"

    def write(images):
        folder.mkdir(exist_ok=True)
        labels = np.arange(len(images), dtype=np.uint8) % 10
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (folder / f"train-{name}-ubyte").write_bytes(head + array.tobytes())
        return folder

    return write
