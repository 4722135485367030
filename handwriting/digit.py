"""From any picture to grey values, and from one of a digit to an image as in MNIST: notebook 05.

``prepare`` does it all. It goes three steps: ``load_grey`` gives grey values, ``find_ink`` says
where ink is, and ``cut_digits`` makes an image of each digit. Pages are read by ``page.py``.
"""

import io
import os
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from skimage import filters, measure, morphology
from torch import Tensor

# To how many pixels the longer side of a picture is scaled: ten times the 20 pixels that a digit
# has in the end, so that its edge is fine.
DIGIT_SIDE = 200


def prepare(picture) -> Tensor:
    """Make a picture of one digit an image as in MNIST.

    Args:
        picture: a path, the bytes of a file, an open file, a PIL image, or an array as
            ``load_grey`` takes it.

    Returns:
        A float32 tensor of shape (1, 28, 28), 0 (paper) to 1 (ink).

    Raises:
        FileNotFoundError: there is no file of this path.
        ValueError: the picture can't be read, shows no digit, or shows more than one.
    """
    grey = load_grey(picture, DIGIT_SIDE)
    images = cut_digits(find_ink(rescale(grey, DIGIT_SIDE / max(grey.shape))))
    if len(images) > 1:
        raise ValueError(
            f"{len(images)} digits stand side by side: read them with handwriting.read_digits"
        )
    return images[0]


# From a picture to grey values --------------------------------------------------------------------

MIN_SIDE = 8  # pixels; in fewer no digit can be told from another
LUMINANCE = np.float32([0.2125, 0.7154, 0.0721])  # of red, green, blue; as in skimage's rgb2gray


def prepare_box(grey: np.ndarray, box: tuple[float, float, float, float]) -> Tensor:
    """Make the digit in a box an image as in MNIST: what ``prepare`` does where others are near.

    All parts in the box are one digit, however far from each other; what is too small for a digit
    is left out, as ``prepare`` does. There has to be paper around a digit, so the box is cut out
    with a rim of 15 %. A stroke with its centre in the rim is a neighbour's.

    Args:
        grey: of shape (H, W).
        box: top, left, bottom and right, in pixels.

    Returns:
        A float32 tensor of shape (1, 28, 28).

    Raises:
        ValueError: there is no digit.
    """
    top, left, bottom, right = box
    rim = 0.15 * max(bottom - top, right - left)
    first_row, first_column = max(0, round(top - rim)), max(0, round(left - rim))
    cut_out = grey[first_row : round(bottom + rim), first_column : round(right + rim)]
    factor = DIGIT_SIDE / max(cut_out.shape)
    ink = find_ink(rescale(cut_out, factor))
    for stroke in measure.regionprops(measure.label(ink)):
        row, column = stroke.centroid
        is_inside_down = top <= first_row + row / factor <= bottom
        is_inside_sideways = left <= first_column + column / factor <= right
        if not (is_inside_down and is_inside_sideways):
            ink[stroke.slice][stroke.image] = False
    digit = np.zeros(ink.shape, dtype=np.uint8)
    for part in find_parts(ink):
        digit[part.slice] |= part.image
    (whole,) = measure.regionprops(digit)  # as one region, whose image has no paper around it
    return as_in_mnist(whole.image)


def load_grey(picture, side: int) -> np.ndarray:
    """Return a picture's grey values, float32 of shape (H, W), the longer side at most ``side``.

    Args:
        picture: a path, the bytes of a file, an open file, a PIL image, or an array of shape
            (H, W), (H, W, 3) or (H, W, 4), of any type and range, also with further axes of
            length 1.
        side: in pixels.

    Raises:
        FileNotFoundError: there is no file of this path.
        ValueError: the file or the array is no picture.
    """
    grey, _ = load_picture(picture, side)
    return grey


def load_picture(picture, side: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Return what ``load_grey`` does, and the height and width of the picture as it was given.

    A photo that its EXIF data turn counts as turned, as it is shown.
    """
    size = None
    if isinstance(picture, str | os.PathLike):
        picture, size = open_picture(Path(picture).read_bytes(), side, name=str(picture))
    elif isinstance(picture, bytes | bytearray | memoryview):
        picture, size = open_picture(bytes(picture), side, name="the picture")
    elif hasattr(picture, "read"):
        picture, size = open_picture(picture.read(), side, name="the open file")
    elif isinstance(picture, Tensor):
        picture = picture.detach().cpu().float()  # numpy takes no other tensors, and no bfloat16
    if isinstance(picture, Image.Image):
        size = size or upright_size(picture)
        picture = reduce_picture(picture, side)
    pixels = np.squeeze(np.asarray(picture, dtype=np.float32))
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if channels == 3:
        grey = pixels @ LUMINANCE
    elif channels == 4:
        white = pixels.max()  # of this picture's range: 255, say, or 1.0
        grey = lay_on_paper(pixels[..., :3] @ LUMINANCE, pixels[..., 3], white)
    else:
        grey = pixels
    if grey.ndim != 2 or min(grey.shape) < MIN_SIDE or not np.isfinite(grey).all():
        raise ValueError(
            f"a picture has finite pixels of shape (H, W), (H, W, 3) or (H, W, 4), {MIN_SIDE} × "
            f"{MIN_SIDE} or more; this one has shape {pixels.shape}"
        )
    return rescale(grey, min(1, side / max(grey.shape))), size or grey.shape


def open_picture(content: bytes, side: int, name: str) -> tuple[Image.Image, tuple[int, int]]:
    """Read a picture file, and what ``upright_size`` says of all of it.

    A ValueError names one that is damaged or no picture.
    """
    try:
        picture = open_however_large(io.BytesIO(content))
        size = upright_size(picture)
        smaller = [max(MIN_SIDE, side * length // max(picture.size)) for length in picture.size]
        picture.draft(None, smaller)  # a large JPEG is read at a half of its size, or less
        picture.load()
        # Here, so that a fault in EXIF names the file too.
        return ImageOps.exif_transpose(picture), size
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{name} can't be read: it has too many pixels to unpack, and is no JPEG, of which "
            "fewer are read. Make it smaller"
        ) from error
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{name} can't be read: it is no picture that Pillow knows. Phones often take HEIC, "
            "whatever the name ends in: save it as JPEG or PNG"
        ) from error
    except Exception as error:  # Pillow raises many kinds
        raise ValueError(f"{name} can't be read: save it as JPEG or PNG ({error})") from error


def open_however_large(file: io.BytesIO) -> Image.Image:
    """Open a picture, of which nothing is unpacked yet.

    Pillow warns of more than 90 million pixels, and refuses 180 million. But a photo may have as
    many, and of a large JPEG only some are unpacked.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            return Image.open(file)
        except Image.DecompressionBombError:
            file.seek(0)
            if file.read(3) != b"\xff\xd8\xff":  # as every JPEG begins
                raise
            file.seek(0)
            return JpegImageFile(file)


def upright_size(picture: Image.Image) -> tuple[int, int]:
    """Return height and width of a picture when it is turned as its EXIF data say."""
    width, height = picture.size
    lies_on_its_side = picture.getexif().get(ExifTags.Base.Orientation, 1) >= 5
    return (width, height) if lies_on_its_side else (height, width)


def reduce_picture(picture: Image.Image, side: int) -> Image.Image:
    """Return the picture upright and no larger than needed, in a mode that becomes an array."""
    picture = ImageOps.exif_transpose(picture)
    has_more_than_8_bits = picture.mode.startswith(("I", "F"))
    if has_more_than_8_bits:  # they would be lost in RGBA
        return picture
    picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    shorter_side = side * min(picture.size) / max(picture.size)
    if shorter_side >= MIN_SIDE:  # else load_grey makes it a bit wider
        picture.thumbnail((side, side))
    return picture


def lay_on_paper(grey: np.ndarray, alpha: np.ndarray, white: float) -> np.ndarray:
    """Fill what is transparent with the paper that the ink calls for: dark under light ink."""
    if white == 0:  # all is black, and transparent
        return grey
    opacity = alpha / white
    above_middle = 2 * grey - white  # positive where the ink is light
    is_light_ink = np.mean(opacity * above_middle) > 0
    paper = 0 if is_light_ink else white
    return opacity * grey + (1 - opacity) * paper


def rescale(grey: np.ndarray, factor: float) -> np.ndarray:
    """Scale both sides by the same factor; a long thin picture gets a bit wider."""
    height, width = (max(MIN_SIDE, round(factor * side)) for side in grey.shape)
    return resize(grey, height, width)


def resize(grey: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale by Pillow's bicubic filter, which also smooths what it makes smaller."""
    picture = Image.fromarray(np.ascontiguousarray(grey, dtype=np.float32))
    return np.asarray(picture.resize((width, height)))


# From grey values to ink --------------------------------------------------------------------------

# The depth that the full ink has: that of nearly its darkest pixels. The very darkest may be noise.
INK_QUANTILE = 0.95
# Ink must be this many standard deviations of the paper deeper than the paper. Pure noise that
# Otsu's threshold has cut in two, be it normal or uniform, comes to 3.5 at most.
MIN_NOISES = 4
# Ink must be deeper than the paper by this share of the range of grey values. The unevenness that a
# shadow leaves in the depth is less.
MIN_CONTRAST = 0.2


def find_ink(grey: np.ndarray) -> np.ndarray:
    """Return where ink is, bool of shape (H, W): not in shadows, nor on ruled lines.

    The depth of a pixel is the paper's grey value there minus its own. A pixel is ink if its depth
    is more than half-way from the paper's to that of the full ink; ruled lines are fainter. A
    ValueError says that no ink stands out.
    """
    grey = as_dark_ink(grey)
    depth = grey_of_paper(grey) - grey
    dark = depth > filters.threshold_otsu(depth)  # two groups, far apart
    if not stands_out(depth, dark, value_range=np.ptp(grey)):
        raise ValueError("no ink stands out from the paper: the page is blank, or all noise")
    paper_depth = np.median(depth[~dark])
    ink_depth = np.quantile(depth[dark], INK_QUANTILE)
    return depth > (paper_depth + ink_depth) / 2


def as_dark_ink(grey: np.ndarray) -> np.ndarray:
    """Return the picture, or its negative if its ink is light."""
    frame = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])  # mostly paper
    paper = np.median(frame)
    lightest_above = grey.max() - paper
    darkest_below = paper - grey.min()
    is_light_ink = lightest_above > darkest_below
    return -grey if is_light_ink else grey


def grey_of_paper(grey: np.ndarray) -> np.ndarray:
    """Return the grey value that the paper has at each pixel, under the ink too.

    A closing paints over whatever is narrower than its window, as strokes are, and leaves shadows.
    """
    window = odd(min(grey.shape) // 2)  # a stroke half as wide as the picture would be no stroke
    return morphology.closing(grey, np.ones((window, window)))


def odd(length: float) -> int:
    """Return an odd number of pixels near the length: such a window has a middle."""
    return int(length) // 2 * 2 + 1


def stands_out(depth: np.ndarray, dark: np.ndarray, value_range: float) -> bool:
    """Tell whether the dark pixels are ink, and not noise or a shadow of the paper."""
    if not dark.any():
        return False
    contrast = depth[dark].mean() - depth[~dark].mean()
    paper_noise = depth[~dark].std()
    return contrast > MIN_NOISES * paper_noise and contrast > MIN_CONTRAST * value_range


# From ink to images -------------------------------------------------------------------------------

# Lengths as shares of the line's height, which is that of the tallest stroke.
MAX_SPECK = 1 / 8  # dust, and what remains of ruled lines; the shortest stroke of a digit is longer
MAX_GAP_DOWN = 1 / 3  # between strokes of one digit, one above the other, as in a 5 or a broken 8
MAX_GAP_SIDEWAYS = 1 / 16  # here the next digit may begin, so that only a crack is closed
MIN_HEIGHT = 0.4  # of a digit; a hyphen is lower
MAX_WIDTH = 3  # a ruled line is wider; up to four digits that touch aren't, and are read as one

BOX = 20  # pixels: in MNIST the longer side of a digit
CENTRE = 14  # in MNIST the row and the column of a digit's centre of mass (notebook 05 measures it)
SIZE = 28  # pixels: the sides of an image of MNIST


def cut_digits(ink: np.ndarray) -> Tensor:
    """Cut a line of digits at its gaps, from left to right.

    Args:
        ink: bool of shape (H, W).

    Returns:
        Images as in MNIST, float32 of shape (N, 1, 28, 28).

    Raises:
        ValueError: there is no digit, or digits stand above each other.
    """
    digits = find_parts(ink)
    check_one_line(digits)
    return torch.stack([as_in_mnist(digit.image) for digit in digits])


def find_parts(ink: np.ndarray) -> list:
    """Return the parts of the ink (skimage's regions) that may be digits, from left to right.

    A ValueError says that there is none.
    """
    numbered = measure.label(ink)  # each stroke has a number, in all its pixels
    strokes = measure.regionprops(numbered)
    line_height = max((stroke.image.shape[0] for stroke in strokes), default=0)
    if line_height < MIN_SIDE:
        raise ValueError(f"no digit found: the tallest stroke of ink has {line_height} pixels")
    min_length = MAX_SPECK * line_height
    large = [stroke.label for stroke in strokes if max(stroke.image.shape) > min_length]
    parts = join_strokes(np.isin(numbered, large), line_height)
    digits = [part for part in parts if is_digit(part, line_height)]
    if not digits:
        raise ValueError("no digit found: all ink is far wider than tall")
    return sorted(digits, key=left_edge)


def join_strokes(ink: np.ndarray, line_height: int) -> list:
    """Return the parts of the ink (skimage's regions), strokes that are near each other as one."""
    height = odd(int(MAX_GAP_DOWN * line_height))
    width = odd(int(MAX_GAP_SIDEWAYS * line_height))
    thick = morphology.dilation(ink, np.ones((height, width)))  # near strokes touch
    numbered = measure.label(thick)
    numbered[~ink] = 0  # each part in its own thickness again
    return measure.regionprops(numbered)


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
        following_top, following_left, following_bottom, _ = following.bbox
        share_columns = following_left < right
        share_rows = following_top <= bottom and top <= following_bottom  # touching counts
        if share_columns and not share_rows:
            raise ValueError(
                "digits stand above each other: read them with handwriting.read_digits"
            )


def as_in_mnist(ink: np.ndarray) -> Tensor:
    """Make the ink of one digit, bool (H, W), an image (1, 28, 28).

    Its longer side is scaled to 20 pixels, and its centre of mass put in the middle.
    """
    scale = BOX / max(ink.shape)
    height = max(1, round(scale * ink.shape[0]))
    width = max(1, round(scale * ink.shape[1]))
    small = resize(ink, height, width).clip(0)  # a bicubic filter may go a bit below 0
    rows, columns = np.indices(small.shape)
    top = first_index(np.average(rows, weights=small), height)
    left = first_index(np.average(columns, weights=small), width)
    image = torch.zeros(1, SIZE, SIZE)
    image[0, top : top + height, left : left + width] = torch.from_numpy(small / small.max())
    return image


def first_index(centre: float, length: int) -> int:
    """Return the row or column where the ink begins, so that its centre of mass is at 14.

    Near an edge of the image it is as close to that as all of the ink can be inside.
    """
    first = round(CENTRE - centre)
    return min(max(first, 0), SIZE - length)
