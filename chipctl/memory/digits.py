"""Handwritten digits as patterns of ±1 or of greys, by the preprocessing of He et al. (Methods)."""

import gzip
import hashlib
import os
import zlib
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

CROPPED_SIDE = 24
_IDX_UBYTE = 8


@dataclass(frozen=True)
class Digits:
    """Images uint8 (n, 28, 28), ink bright on 0, and their classes 0–9, uint8 (n,)."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]

    @property
    def sha256(self) -> str:
        """Which digits these are, whatever files they came from."""
        return hashlib.sha256(self.images.tobytes() + self.labels.tobytes()).hexdigest()


def load_digits(directory: str | os.PathLike[str] | None = None) -> Digits:
    """All digits of the idx files in `directory`, or the 5 000 bundled ones.

    `directory` holds MNIST's files under their own names, `train-images-idx3-ubyte` with
    `train-labels-idx1-ubyte`, `t10k-…` or both (then one after the other), gzipped or not.
    Raises ValueError when there are none or they are no idx files.
    """
    if directory is None:
        with (
            as_file(files("chipctl.memory") / "data" / "digits.npz") as path,
            np.load(path) as bundle,
        ):
            return Digits(bundle["images"], bundle["labels"])
    directory = Path(directory)
    found = [part for part in ("train", "t10k") if _find(directory, f"{part}-images-idx3-ubyte")]
    if not found:
        raise ValueError(
            f"no digits in {directory}: put train-images-idx3-ubyte and train-labels-idx1-ubyte "
            "there (or t10k-…; gzipped or not), or leave the directory out for the bundled digits"
        )
    parts = [_load_part(directory, part) for part in found]
    return Digits(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )


def choosing_part(digits: Digits) -> Digits:
    """Every second digit from the first: those on which rates and schedules were chosen."""
    return Digits(digits.images[::2], digits.labels[::2])


def reporting_part(digits: Digits) -> Digits:
    """Every second digit from the second: those on which figures are reported."""
    return Digits(digits.images[1::2], digits.labels[1::2])


def draw_one_per_class(digits: Digits, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Ten images (10, 28, 28), one of each class 0–9, uniform within its class."""
    missing = sorted(set(range(10)) - set(digits.labels.tolist()))
    if missing:
        raise ValueError(f"no image of class {missing[0]} among the digits: use a complete set")
    chosen = [rng.choice(np.flatnonzero(digits.labels == label)) for label in range(10)]
    return digits.images[chosen]


def to_patterns(images: npt.NDArray[np.uint8], side: int = 8) -> npt.NDArray[np.int8]:
    """Patterns of ±1, int8 (n, side²): centre 24×24, bicubic to `side`, threshold at the mean.

    The resize is Pillow's on bytes (He et al., Methods: crop, bicubic, binarise); a pixel at
    exactly the image's mean is −1.
    """
    small = _resized(images, side)
    bright = small > small.mean(axis=1, keepdims=True)
    return np.where(bright, 1, -1).astype(np.int8)


def to_greys(images: npt.NDArray[np.uint8], side: int = 8) -> npt.NDArray[np.float32]:
    """Continuous patterns in [−1, 1], float32 (n, side²), black −1: cropped and resized alike."""
    return _resized(images, side).astype(np.float32) / np.float32(127.5) - 1


def _resized(images: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    margin = (images.shape[1] - CROPPED_SIDE) // 2
    cropped = images[:, margin : margin + CROPPED_SIDE, margin : margin + CROPPED_SIDE]
    resize = Image.Resampling.BICUBIC
    return np.array(
        [Image.fromarray(image).resize((side, side), resize) for image in cropped], dtype=np.uint8
    ).reshape(len(images), side * side)


def _load_part(directory: Path, part: str) -> Digits:
    images = _read_idx(directory, f"{part}-images-idx3-ubyte", ndim=3)
    labels = _read_idx(directory, f"{part}-labels-idx1-ubyte", ndim=1)
    if len(images) != len(labels):
        raise ValueError(
            f"{directory}: {len(images)} {part} images but {len(labels)} labels; "
            "take both files from the same set"
        )
    if images.shape[1:] != (28, 28):
        raise ValueError(f"{directory}: {part} images are {images.shape[1:]}, expected (28, 28)")
    return Digits(images, labels)


def _find(directory: Path, name: str) -> Path | None:
    dotted = name.replace("-idx", ".idx")
    candidates = [directory / f"{stem}{suffix}" for stem in (name, dotted) for suffix in ("", ".gz")]
    return next((path for path in candidates if path.is_file()), None)


def _read_idx(directory: Path, name: str, ndim: int) -> npt.NDArray[np.uint8]:
    """The array of one idx file: 0, 0, type, ndim, then big-endian lengths, then the bytes."""
    path = _find(directory, name)
    if path is None:
        raise ValueError(f"{directory} lacks {name} (gzipped or not); put it beside the others")
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path} can't be unpacked ({error}); fetch it again") from error
    header = 4 + 4 * ndim
    shape = np.frombuffer(data[4:header], ">u4") if len(data) >= header else np.zeros(1)
    if data[:4] != bytes([0, 0, _IDX_UBYTE, ndim]) or len(data) - header != np.prod(shape):
        raise ValueError(
            f"{path} is no idx file of bytes in {ndim} dimensions, or is cut short; fetch it again"
        )
    return np.frombuffer(data[header:], np.uint8).reshape(shape.astype(int))
