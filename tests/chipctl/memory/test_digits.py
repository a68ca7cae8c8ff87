import gzip
import hashlib

import numpy as np
import pytest

from chipctl.memory.digits import draw_one_per_class, load_digits, to_patterns


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


@pytest.fixture
def few():
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (20, 28, 28), np.uint8), np.arange(20, dtype=np.uint8) % 10


def test_the_bundle_holds_500_digits_of_each_class():
    digits = load_digits()
    assert digits.images.shape == (5000, 28, 28)
    assert np.bincount(digits.labels).tolist() == [500] * 10


def test_patterns_of_the_bundle_never_change():
    patterns = to_patterns(load_digits().images)
    assert patterns.shape == (5000, 64)
    assert hashlib.sha256(patterns.tobytes()).hexdigest() == (
        "110a06474f27c4483efc57a3fa008a0926db5117b8cfb3230f6b85e2355699a2"
    )


def test_a_bright_centre_becomes_a_bright_centre():
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 8:20, 8:20] = 255
    expected = -np.ones((8, 8))
    expected[2:6, 2:6] = 1
    np.testing.assert_array_equal(to_patterns(image)[0].reshape(8, 8), expected)


def test_a_draw_has_one_image_of_each_class_in_order():
    digits = load_digits()
    images = draw_one_per_class(digits, np.random.default_rng(5))
    labels = [set(digits.labels[(digits.images == image).all(axis=(1, 2))].tolist()) for image in images]
    assert labels == [{label} for label in range(10)]


@pytest.mark.parametrize(("ending", "pack"), [("", bytes), (".gz", gzip.compress)])
def test_idx_files_come_back_as_written(tmp_path, few, ending, pack):
    images, labels = few
    (tmp_path / f"train-images-idx3-ubyte{ending}").write_bytes(pack(idx(images)))
    (tmp_path / f"train-labels-idx1-ubyte{ending}").write_bytes(pack(idx(labels)))
    digits = load_digits(tmp_path)
    np.testing.assert_array_equal(digits.images, images)
    np.testing.assert_array_equal(digits.labels, labels)


def test_training_and_test_sets_are_joined(tmp_path, few):
    images, labels = few
    for part in ("train", "t10k"):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    assert len(load_digits(str(tmp_path)).images) == 2 * len(images)


def test_an_empty_directory_says_which_files_to_put_there(tmp_path):
    with pytest.raises(ValueError, match="put train-images-idx3-ubyte"):
        load_digits(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte", b"GIF89a", "no idx file"),
        ("train-images-idx3-ubyte", idx(np.zeros((2, 28, 28), np.uint8))[:-1], "cut short"),
        ("train-images-idx3-ubyte", idx(np.zeros((2, 9, 9), np.uint8)), "expected"),
        ("train-images-idx3-ubyte.gz", b"not gzip", "unpacked"),
        ("train-images-idx3-ubyte.gz", gzip.compress(b"x" * 99, mtime=0)[:-9], "unpacked"),
    ],
    ids=["no idx", "cut short", "other size", "no gzip", "gzip cut short"],
)
def test_a_file_that_is_no_digit_file_is_refused(tmp_path, name, content, message):
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(2, np.uint8)))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_digits(tmp_path)


def test_images_and_labels_of_different_sets_are_refused(tmp_path, few):
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(few[0]))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(few[1][:-1]))
    with pytest.raises(ValueError, match="20 t10k images but 19 labels"):
        load_digits(tmp_path)


def test_missing_labels_are_named(tmp_path, few):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(few[0]))
    with pytest.raises(ValueError, match="lacks train-labels-idx1-ubyte"):
        load_digits(tmp_path)
