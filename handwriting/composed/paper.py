"""Composed paper: its grain and lines, light and shadow on it, and what a camera makes of them."""

import io

import numpy as np
from PIL import Image
from scipy import ndimage

RULE_DISTANCE = 40  # pixels from one ruled line to the next
RULE_DEPTH = 0.3  # of 1: how much darker than the paper a ruled line is
INK_DEPTH = 0.85  # ... and the ink
NOISE = 0.03  # standard deviation of the grey values, of 1


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


def as_grey(photo: np.ndarray) -> Image.Image:
    return Image.fromarray((255 * photo).clip(0, 255).astype(np.uint8))


def from_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    """Return what is left of a picture that was stored as a JPEG."""
    file = io.BytesIO()
    picture.save(file, "jpeg", quality=quality)
    return Image.open(file)


def paper_of_page(shape, deepest_rule, height, slope, rng):
    """Grain of three sizes, and no lines, or lines, or squares."""
    paper = np.ones(shape)
    for strength, sigma in ((0.012, 1.5), (0.012, 6), (0.015, 40)):
        paper += strength * smooth_noise(shape, sigma, rng)
    kind = rng.choice(["plain", "ruled", "squared"], p=[0.4, 0.35, 0.25])
    distance = height * (rng.uniform(0.4, 1) if kind == "squared" else rng.uniform(1, 1.6))
    thickness = max(1, 0.02 * height)
    down, right = np.mgrid[: shape[0], : shape[1]]
    start = rng.uniform(0, distance)
    lines = np.zeros(shape)
    if kind != "plain":
        lines = line_at(down - slope * right + start, distance, thickness)
    if kind == "squared":
        lines = np.maximum(lines, line_at(right + slope * down + start, distance, thickness))
    return paper * (1 - rng.uniform(0.08, deepest_rule) * lines)


def line_at(place: np.ndarray, distance: float, thickness: float) -> np.ndarray:
    """1 on lines at multiples of a distance, and 0 between them."""
    from_line = np.abs(place % distance - distance / 2)
    return (thickness - from_line + 0.5).clip(0, 1)


def beside_a_table(paper, written, height, rng):
    """Show at one side of the photo the table on which the page lies."""
    wood = rng.uniform(0.15, 0.6) * (1 + 0.1 * smooth_noise(paper.shape, 4, rng))
    width = int(height * rng.uniform(0.15, 0.35))
    turns = rng.integers(4)
    table = np.zeros(paper.shape, bool)
    np.rot90(table, turns)[:width] = True
    return np.where(table, wood, paper), np.where(table, wood, written)


def light_on_page(shape, brightness, slope, rng):
    """Light from one side; on some pages the shadow of a hand, or a fold."""
    light = rng.uniform(*brightness) * (1 + rng.uniform(0, 0.5) * (ramp(shape, rng) - 0.5))
    down, right = np.mgrid[: shape[0], : shape[1]]
    if rng.random() < 0.35:
        distance = (ramp(shape, rng) - rng.uniform(0.2, 0.8)) * max(shape)
        softness = rng.uniform(2, 30)
        in_shadow = 1 / (1 + np.exp(-(distance / softness).clip(-30, 30)))
        light *= 1 - rng.uniform(0.2, 0.45) * in_shadow
    if rng.random() < 0.2:
        across = down - slope * right - shape[0] * rng.uniform(0.1, 0.9)
        upright = right - shape[1] * rng.uniform(0.1, 0.9)
        distance = np.abs(across if rng.random() < 0.5 else upright)
        light *= 1 - rng.uniform(0.05, 0.15) * np.exp(-distance / rng.uniform(3, 10))
    return light


def smooth_noise(shape: tuple[int, int], sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Return values of mean 0 and standard deviation 1 that are alike within ``sigma`` pixels."""
    step = max(1, int(sigma / 2))  # made small, and then enlarged
    small = [side // step + 4 for side in shape]
    noise = ndimage.gaussian_filter(rng.standard_normal(small), sigma / step)
    noise = (noise / noise.std()).astype(np.float32)
    large = Image.fromarray(noise).resize(
        (small[1] * step, small[0] * step), Image.Resampling.BICUBIC
    )
    return np.asarray(large)[: shape[0], : shape[1]]


def ramp(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Values that grow from 0 to 1 across the page, in any direction."""
    angle = rng.uniform(0, 2 * np.pi)
    down, right = np.linspace(0, 1, shape[0])[:, None], np.linspace(0, 1, shape[1])
    values = np.sin(angle) * down + np.cos(angle) * right
    return (values - values.min()) / np.ptp(values)
