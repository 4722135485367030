"""From a picture of digits to images as in MNIST, and to the digits: what notebook 07 explains.

``prepare`` and ``read_digits`` do it all. They go three steps: ``load_grey`` gives grey values,
``find_ink`` says where ink is, and ``cut_digits`` makes an image of each digit.
"""

import io
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from skimage import filters, measure, morphology
from torch import Tensor

from mnist_helpers import AUGMENTED_PATH, Network, load_checkpoint

# The side to which a picture is scaled, in pixels. A digit needs about ten times the 20 that remain
# of it in the end; a line of ten digits needs more.
DIGIT_SIDE = 200
LINE_SIDE = 1000


def prepare(picture) -> Tensor:
    """Make a picture of one digit an image as in MNIST.

    Args:
        picture: a path, a PIL image, or an array as ``load_grey`` takes it.

    Returns:
        A float32 tensor of shape (1, 28, 28), 0 (paper) to 1 (ink).

    Raises:
        ValueError: the picture can't be read, shows no digit, or shows more than one.
    """
    images = cut_digits(find_ink(load_grey(picture, DIGIT_SIDE)))
    if len(images) > 1:
        raise ValueError(f"{len(images)} digits stand side by side: read a line with read_digits")
    return images[0]


@torch.inference_mode()
def read_digits(picture) -> list[tuple[int, float]]:
    """Read a line of digits, from left to right, with the weights that notebook 06 trained.

    Takes what ``prepare`` takes, and raises its errors. Returns each digit and its probability.
    """
    model = Network().eval()
    load_checkpoint(model, AUGMENTED_PATH)
    images = cut_digits(find_ink(load_grey(picture, LINE_SIDE)))
    probabilities, digits = model(images).exp().max(dim=1)
    return list(zip(digits.tolist(), probabilities.tolist(), strict=True))


# From a picture to grey values --------------------------------------------------------------------

MIN_SIDE = 8  # pixels; in fewer no digit can be told from another
LUMINANCE = np.float32([0.2125, 0.7154, 0.0721])  # of red, green, blue, by ITU-R BT.709


def load_grey(picture, side: int) -> np.ndarray:
    """Return a picture's grey values, float32 of shape (H, W), the longer side scaled to ``side``.

    Args:
        picture: a path, a PIL image, or an array of shape (H, W), (H, W, 3) or (H, W, 4), of any
            type and range, also with further axes of length 1.
        side: in pixels.

    Raises:
        FileNotFoundError: there is no file of this path.
        ValueError: the file or the array is no picture.
    """
    if isinstance(picture, str | os.PathLike):
        picture = open_picture(picture)
    if isinstance(picture, Image.Image):
        picture = ImageOps.exif_transpose(picture)  # as the camera was held
        has_more_than_8_bits = picture.mode.startswith(("I", "F"))
        if not has_more_than_8_bits:
            picture = picture.convert("RGBA")
            picture.thumbnail((side, side))
    pixels = np.squeeze(np.asarray(picture, dtype=np.float32))
    grey = pixels
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4):
        grey = pixels[..., :3] @ LUMINANCE
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        white = pixels.max() or 1  # of this picture's range: 255, or 1.0
        grey = lay_on_paper(grey, pixels[..., 3] / white, white)
    if grey.ndim != 2 or min(grey.shape) < MIN_SIDE or not np.isfinite(grey).all():
        raise ValueError(
            f"a picture has finite pixels of shape (H, W), (H, W, 3) or (H, W, 4), {MIN_SIDE} × "
            f"{MIN_SIDE} or more; this one has shape {pixels.shape}"
        )
    height, width = (max(MIN_SIDE, round(side * length / max(grey.shape))) for length in grey.shape)
    return resize(grey, height, width)


def open_picture(path: str | os.PathLike) -> Image.Image:
    """Open a file and read all of it; a ValueError names one that is damaged or no picture."""
    content = io.BytesIO(Path(path).read_bytes())
    try:
        return ImageOps.exif_transpose(Image.open(content))  # reads the pixels too
    except Exception as error:  # Pillow raises many kinds
        raise ValueError(f"{path} can't be read: save it as JPEG or PNG ({error})") from error


def lay_on_paper(grey: np.ndarray, opacity: np.ndarray, white: float) -> np.ndarray:
    """Fill what is transparent with the paper that the ink calls for: dark under light ink."""
    above_middle = 2 * grey - white
    is_light_ink = np.mean(opacity * above_middle) > 0
    paper = 0 if is_light_ink else white
    return opacity * grey + (1 - opacity) * paper


def resize(grey: np.ndarray, height: int, width: int) -> np.ndarray:
    picture = Image.fromarray(np.ascontiguousarray(grey, dtype=np.float32))
    return np.asarray(picture.resize((width, height)))


# From grey values to ink --------------------------------------------------------------------------

DARK_INK = (
    0.95  # the quantile of the inked pixels' depths that stands for the full depth of the ink
)
MIN_NOISES = 4  # ink is deeper than paper by this many standard deviations of the paper
MIN_CONTRAST = 0.2  # ... and by this share of the range of grey values: else all is shadow


def find_ink(grey: np.ndarray) -> np.ndarray:
    """Return where ink is, bool of shape (H, W): not in shadows, nor on ruled lines.

    The depth of the ink is the paper's grey value minus the pixel's. Whatever is deeper than half
    of the ink is ink; ruled lines are fainter than that. A ValueError says that no ink stands out.
    """
    grey = as_dark_ink(grey)
    depth = grey_of_paper(grey) - grey
    dark = depth > filters.threshold_otsu(depth)  # parts the depths in two groups, far apart
    if not stands_out(depth, dark, value_range=np.ptp(grey)):
        raise ValueError("no ink stands out from the paper: the page is blank, or all noise")
    paper_depth = np.median(depth[~dark])
    ink_depth = np.quantile(depth[dark], DARK_INK)
    return depth > (paper_depth + ink_depth) / 2


def as_dark_ink(grey: np.ndarray) -> np.ndarray:
    """Return the picture, or its negative if its ink is light."""
    frame = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])  # mostly paper
    paper = np.median(frame)
    is_light_ink = grey.max() - paper > paper - grey.min()
    return -grey if is_light_ink else grey


def grey_of_paper(grey: np.ndarray) -> np.ndarray:
    """Return the grey value that the paper has at each pixel, under the ink too.

    A closing paints over whatever is narrower than its window, as strokes are, and leaves shadows.
    """
    window = odd(min(grey.shape) // 2)  # wider than any stroke
    return morphology.closing(grey, np.ones((window, window)))


def odd(length: int) -> int:
    """Round up to an odd number of pixels: such a window has a middle."""
    return length // 2 * 2 + 1


def stands_out(depth: np.ndarray, dark: np.ndarray, value_range: float) -> bool:
    """Tell whether the dark pixels are ink, and not noise or a shadow of the paper."""
    if not dark.any():
        return False
    contrast = depth[dark].mean() - depth[~dark].mean()
    paper_noise = depth[~dark].std()
    return contrast > MIN_NOISES * paper_noise and contrast > MIN_CONTRAST * value_range


# From ink to images -------------------------------------------------------------------------------

# Lengths as shares of the line's height, which is that of the tallest stroke.
MAX_SPECK = 1 / 8  # dust and what remains of ruled lines
MAX_GAP_DOWN = 1 / 3  # between strokes of one digit, one above the other, as in a 5 or a broken 8
MAX_GAP_SIDEWAYS = 1 / 16  # here the next digit may begin, so that only a crack is closed
MIN_HEIGHT = 0.4  # of a digit; a hyphen is lower
MAX_WIDTH = 3.08  # of a digit, or of a few that touch; a ruled line is far wider

BOX = 20  # pixels: in MNIST the longer side of a digit
CENTRE = 14  # row and column of its centre of mass, in an image of 28 × 28


def cut_digits(ink: np.ndarray) -> Tensor:
    """Cut a line of digits at its gaps, from left to right.

    Args:
        ink: bool of shape (H, W).

    Returns:
        Images as in MNIST, float32 of shape (N, 1, 28, 28).

    Raises:
        ValueError: there is no digit, or digits stand above each other.
    """
    labels = measure.label(ink)
    strokes = measure.regionprops(labels)
    line_height = max((stroke.image.shape[0] for stroke in strokes), default=0)
    if line_height < MIN_SIDE:
        raise ValueError(f"no digit found: the tallest stroke of ink has {line_height} pixels")
    large = [s.label for s in strokes if max(s.image.shape) > MAX_SPECK * line_height]
    parts = join_strokes(np.isin(labels, large), line_height)
    digits = [part for part in parts if is_digit(part, line_height)]
    if not digits:
        raise ValueError(f"no digit found: the tallest stroke of ink has {line_height} pixels")
    digits.sort(key=left_edge)
    check_one_line(digits)
    return torch.stack([as_in_mnist(digit.image) for digit in digits])


def join_strokes(ink: np.ndarray, line_height: int) -> list:
    """Return the parts of the ink (skimage's regions), strokes that are near each other as one."""
    window = (odd(int(MAX_GAP_DOWN * line_height)), odd(int(MAX_GAP_SIDEWAYS * line_height)))
    thick = morphology.dilation(ink, np.ones(window))  # near strokes touch
    return measure.regionprops(measure.label(thick) * ink)  # each part in its own thickness


def is_digit(part, line_height: int) -> bool:
    """Tell whether a part is as tall as a digit, and no line across the page."""
    height, width = part.image.shape
    return height > MIN_HEIGHT * line_height and width < MAX_WIDTH * line_height


def left_edge(part) -> int:
    _, left, _, _ = part.bbox  # top, left, bottom, right
    return left


def check_one_line(digits: list) -> None:
    """Raise a ValueError if one digit stands above the next."""
    for digit, following in pairwise(digits):
        top, _, bottom, right = digit.bbox
        next_top, next_left, next_bottom, _ = following.bbox
        overlap_across = next_left < right
        overlap_down = next_top <= bottom and top <= next_bottom
        if overlap_across and not overlap_down:
            raise ValueError("digits stand above each other: give one line at a time")


def as_in_mnist(ink: np.ndarray) -> Tensor:
    """Make the ink of one digit, bool (H, W), an image (1, 28, 28).

    Its longer side is scaled to 20 pixels, and its centre of mass put in the middle.
    """
    height, width = (max(1, round(BOX * length / max(ink.shape))) for length in ink.shape)
    small = resize(ink, height, width).clip(0)  # resizing may overshoot
    row, column = (np.average(index, weights=small) for index in np.indices(small.shape))
    top = place(height, row)
    left = place(width, column)
    image = torch.zeros(1, 28, 28)
    image[0, top : top + height, left : left + width] = torch.from_numpy(small / small.max())
    return image


def place(length: int, centre: float) -> int:
    """Return the first row, or column, of ink: as central as it can be with all ink inside."""
    first = round(CENTRE - centre)
    return min(max(first, 0), 28 - length)
