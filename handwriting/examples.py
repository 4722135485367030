"""Labelled images that a person gave: what they must be, and the file that keeps them."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from checkpoints import verified_archive, write_whole
from mnist_helpers import check_labels


def check_examples(images: Tensor, labels: Tensor) -> None:
    """Raise a ValueError unless these are images (N, 1, 28, 28) in [0, 1], and their N labels.

    A pixel that is no number would spoil the weights without an error, and ``NLLLoss`` skips a
    label of -100 without a word.
    """
    if not isinstance(images, Tensor) or not isinstance(labels, Tensor):
        raise ValueError("images and labels must be tensors: torch.stack(...), torch.tensor(...)")
    if labels.ndim != 1 or len(labels) == 0:
        raise ValueError(f"labels must have shape (N,), N ≥ 1, not {tuple(labels.shape)}")
    if images.shape != (len(labels), 1, 28, 28) or images.dtype != torch.float32:
        raise ValueError(
            f"images must be float32 of shape ({len(labels)}, 1, 28, 28), as there are "
            f"{len(labels)} labels; these are {images.dtype} of shape {tuple(images.shape)}"
        )
    if not ((images >= 0) & (images <= 1)).all():  # nan is no number between 0 and 1 either
        low, high = images.min(), images.max()
        raise ValueError(f"pixels must lie in [0, 1], not {low:g} to {high:g}: divide by 255?")
    check_labels(labels)


class Examples:
    """Images and labels in a file, an ``.npz`` archive: what a person has drawn so far.

    Each method reads the file first, and holds a lock while it changes it. So what another open
    notebook adds is not lost, even at the same moment.
    """

    def __init__(self, path: Path):
        self.path = path
        self.lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=30)  # seconds

    def load(self) -> tuple[list[Tensor], list[int]]:
        """Return images (1, 28, 28) and labels; none, if there is no file.

        Raises:
            ValueError: it names a file that is damaged, or holds something else.
        """
        if not self.path.exists():
            return [], []
        try:
            content = verified_archive(self.path.read_bytes(), may_be_compressed=True)
            arrays = np.load(content)
            images, labels = torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"])
            if len(labels) > 0:
                check_examples(images, labels)
        except Exception as error:  # zipfile and numpy raise many kinds
            raise ValueError(
                f"{self.path} holds no drawings that can be used: {error}. Move it away, and draw "
                "anew."
            ) from error
        return list(images), labels.tolist()

    def add(self, images: list[Tensor], labels: list[int]) -> None:
        """Add images (1, 28, 28) and their labels.

        Raises:
            ValueError: they are no images and labels, or the file can't be used.
        """
        check_examples(torch.stack(images), torch.tensor(labels))
        with self._locked():
            kept_images, kept_labels = self.load()
            self._write(kept_images + list(images), kept_labels + list(labels))

    def take_out(self, image: Tensor, label: int) -> None:
        """Take out an example, if it is still there."""
        with self._locked():
            images, labels = self.load()
            for place, (kept_image, kept_label) in enumerate(zip(images, labels, strict=True)):
                if kept_label == label and torch.equal(kept_image, image):
                    del images[place], labels[place]
                    self._write(images, labels)
                    return

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)  # where the lock lies too
        try:
            self.lock.acquire()
        except Timeout:
            raise
        except OSError:  # some network drives lock nothing: then it goes without
            pass
        try:
            yield
        finally:
            self.lock.release()

    def _write(self, images: list[Tensor], labels: list[int]) -> None:
        content = io.BytesIO()
        stacked = torch.stack(images) if images else torch.zeros(0, 1, 28, 28)
        np.savez_compressed(content, images=stacked.numpy(), labels=np.array(labels, np.int64))
        write_whole(content.getvalue(), self.path)
