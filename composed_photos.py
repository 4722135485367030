"""Photos of handwritten lines, composed of MNIST's digits, so that the right answer is known.

``write_line`` lays the digits side by side, and ``photograph`` makes a photo of what it gives.
"""

import numpy as np
from PIL import Image

HEIGHT = 72  # of a digit's image, in pixels, before it gets a size of its own
INK = 0.2  # of 1: columns with less ink than this are the margin of a digit's image
RULE_DISTANCE = 40  # pixels from one ruled line to the next
RULE_DEPTH = 0.3  # of 1: how much darker than the paper a ruled line is
INK_DEPTH = 0.85  # ... and the ink
NOISE = 0.03  # standard deviation of the grey values, of 1


def write_line(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lay digits side by side, each with a size, a height on the line and a gap of its own.

    Args:
        images: uint8 of shape (N, 28, 28), ink is 255.

    Returns:
        The ink of the page, from 0 to 1, of shape (H, W), with a margin on all sides.
    """
    page_height = 2 * HEIGHT
    margin = np.zeros((page_height, HEIGHT))
    parts = [margin]
    for image in images:
        size = round(HEIGHT * rng.uniform(0.85, 1.15))
        digit = np.asarray(Image.fromarray(image).resize((size, size))) / 255
        digit = digit[:, digit.max(axis=0) > INK]
        top = round(HEIGHT * rng.uniform(0.3, 0.5))
        gap = round(HEIGHT * rng.uniform(0.1, 0.4))
        bottom = page_height - top - size
        parts.append(np.pad(digit, ((top, bottom), (0, gap))))
    return np.hstack([*parts, margin])


def photograph(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add what a camera sees: ruled lines, a page that lies askew, light from one side, and noise.

    Returns:
        Grey values, uint8, of the shape of the ink.
    """
    height, width = ink.shape
    rules = np.zeros_like(ink)
    for row in range(rng.integers(RULE_DISTANCE), height, RULE_DISTANCE):
        rules[row : row + 2] = 1
    page = (1 - RULE_DEPTH * rules) * (1 - INK_DEPTH * ink)
    picture = Image.fromarray(page.astype(np.float32))
    askew = picture.rotate(rng.uniform(-3, 3), Image.Resampling.BICUBIC, fillcolor=1)
    light = 0.75 + rng.uniform(-0.2, 0.2) * np.linspace(-1, 1, width)
    light = light + rng.uniform(-0.1, 0.1) * np.linspace(-1, 1, height)[:, None]
    noise = NOISE * rng.standard_normal(ink.shape)
    return (255 * (light * askew + noise)).clip(0, 255).astype(np.uint8)
