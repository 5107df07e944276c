"""Make a small data set in the MNIST file format: no download, the same bytes everywhere.

Each image is a seven-segment digit on a random place of a noisy 28 x 28 background, so a small network learns it in
seconds. The files have the names and the IDX format of the original (Y. LeCun, C. Cortes, C. Burges, "The MNIST
database of handwritten digits"): ``DIR/train`` and ``DIR/test`` are what ``mindspore.dataset.MnistDataset`` reads.

    python make_mnist.py DIR [--train N] [--test M] [--seed S]
"""

from __future__ import annotations

import argparse
import os
import random
import struct
import sys
import tempfile

SIDE = 28
SEGMENTS = {  # name: (left, top, width, height) in pixels, for the digit at its place in the middle
    "a": (9, 5, 10, 3),
    "b": (17, 5, 3, 10),
    "c": (17, 13, 3, 10),
    "d": (9, 20, 10, 3),
    "e": (8, 13, 3, 10),
    "f": (8, 5, 3, 10),
    "g": (9, 12, 10, 3),
}
DIGITS = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")
SHIFTS = range(-2, 3)
IMAGES_MAGIC, LABELS_MAGIC = 0x803, 0x801  # unsigned bytes in three dimensions, and in one


def make_mnist(folder: str, train: int = 2048, test: int = 256, seed: int = 0) -> None:
    """Write the four files of a data set of ``train`` and ``test`` images below ``folder``.

    Several processes may do so at once: each file appears whole, and all of them write the same bytes.
    """
    for split, prefix, count in (("train", "train", train), ("test", "t10k", test)):
        images, labels = _split(random.Random(f"{seed} {split}"), count)
        target = os.path.join(folder, split)
        os.makedirs(target, exist_ok=True)
        _write_whole(folder, os.path.join(target, f"{prefix}-images-idx3-ubyte"), images)
        _write_whole(folder, os.path.join(target, f"{prefix}-labels-idx1-ubyte"), labels)


def _split(rng: random.Random, count: int) -> tuple[bytes, bytes]:
    """The image file and the label file of ``count`` digits."""
    drawn = {(digit, x, y): _draw(digit, x, y) for digit in range(10) for x in SHIFTS for y in SHIFTS}
    images = bytearray(struct.pack(">4I", IMAGES_MAGIC, count, SIDE, SIDE))
    labels = bytearray(struct.pack(">2I", LABELS_MAGIC, count))
    for _ in range(count):
        digit, x, y = (byte % size for byte, size in zip(rng.randbytes(3), (10, len(SHIFTS), len(SHIFTS))))
        noise = rng.randbytes(SIDE * SIDE)
        images += bytes(ink + grain // 2 for ink, grain in zip(drawn[digit, SHIFTS[x], SHIFTS[y]], noise))
        labels.append(digit)
    return bytes(images), bytes(labels)


def _draw(digit: int, right: int, down: int) -> bytes:
    """One clean digit, moved by some pixels: 128 where there is ink, else 0."""
    pixels = bytearray(SIDE * SIDE)
    for segment in DIGITS[digit]:
        left, top, width, height = SEGMENTS[segment]
        for row in range(top + down, top + down + height):
            start = row * SIDE + left + right
            pixels[start : start + width] = b"\x80" * width
    return bytes(pixels)


def _write_whole(folder: str, path: str, content: bytes) -> None:
    # Not beside the target: MnistDataset reads every file there that has "images" in its name, half-written or not.
    with tempfile.TemporaryDirectory(prefix=".part-", dir=folder) as scratch:
        part = os.path.join(scratch, "file")
        with open(part, "wb") as file:
            file.write(content)
        os.replace(part, path)


def main() -> int:
    parser = argparse.ArgumentParser(description="Make a small data set in the MNIST file format.")
    parser.add_argument("folder", metavar="DIR", help="where to put it; made if it does not exist")
    parser.add_argument("--train", type=int, default=2048, metavar="N", help="training images (default: 2048)")
    parser.add_argument("--test", type=int, default=256, metavar="M", help="test images (default: 256)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="other seeds, other noise (default: 0)")
    args = parser.parse_args()
    if args.train < 1 or args.test < 1:
        parser.error("--train and --test must be at least 1")
    try:
        make_mnist(args.folder, args.train, args.test, args.seed)
    except OSError as error:
        sys.exit(
            f"cannot write the data set to {args.folder}: {error.strerror}; name a directory that you may write to"
        )
    print(f"wrote {args.train} training images to {os.path.join(args.folder, 'train')}")
    print(f"wrote {args.test} test images to {os.path.join(args.folder, 'test')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
