"""A folder of digits as MNIST's files have them."""

import numpy as np
import pytest

from benchmarks.uci_digits import write_idx


@pytest.fixture
def idx_folder(tmp_path):
    """Write images, of classes 0 to 9 in turn, into the test's folder of idx files, and name it."""
    folder = tmp_path / "digits"

    def write(images):
        write_idx(folder, images, np.arange(len(images), dtype=np.uint8) % 10)
        return folder

    return write
