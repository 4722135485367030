"""Notebook 06's distortion, taken from its cells, against arithmetic and PyTorch's own rotation."""

import math

import pytest
import torch
import torch.nn.functional as F
from cells import source_of

PLACE = torch.arange(28.0) - 13.5  # of a row or column, in pixels from the centre
NOTHING = {"angle": 0, "scale": 0, "shift": 0}


@pytest.fixture(scope="module")
def notebook():
    """What the cells that define the distortion leave behind."""
    scope = {"F": F, "math": math, "torch": torch}
    for start in ("def affine(", "def augment("):
        exec(source_of("06", start), scope)
    return scope


@pytest.fixture
def images():
    return torch.rand(16, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def look_up(images, matrices):
    grid = F.affine_grid(matrices, images.shape, align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def centre_of_mass(images):
    """Column and row, counted in pixels from the centre of the image, of shape (N, 2)."""
    ink = images.sum(dim=(1, 2, 3))
    columns, rows = images.sum(dim=(1, 2)) @ PLACE, images.sum(dim=(1, 3)) @ PLACE
    return torch.stack([columns / ink, rows / ink], dim=1)


def dot(column, row):
    """An image (1, 1, 28, 28) of ink around one place, given in pixels from the centre."""
    x, y = (torch.exp(-((PLACE - at) ** 2) / 4) for at in (column, row))
    return (y[:, None] * x).view(1, 1, 28, 28)


def test_strength_0_changes_nothing(notebook, images):
    assert torch.allclose(notebook["augment"](images, **NOTHING), images, atol=1e-5)


@pytest.mark.parametrize(
    "strength",
    [{"angle": 10}, {"scale": 0.1}, {"shift": 1.5}],
    ids=str,
)
def test_each_image_of_a_batch_is_changed_in_its_own_way(notebook, images, strength):
    same = images[:1].repeat(16, 1, 1, 1)
    torch.manual_seed(0)
    changed = notebook["augment"](same, **(NOTHING | strength))
    assert changed.shape == same.shape and changed.dtype == same.dtype
    assert changed.min() >= -1e-6 and changed.max() <= 1 + 1e-6
    for i, image in enumerate(changed):
        others = torch.cat([same[:1], changed[:i], changed[i + 1 :]])
        assert ((others - image).abs().amax(dim=(1, 2, 3)) > 0.001).all()


def test_a_quarter_turn_moves_every_pixel_where_rot90_does(notebook, images):
    none, one = torch.zeros(16), torch.ones(16)
    matrices = notebook["affine"](one * math.pi / 2, one, one, none, none)
    assert matrices.shape == (16, 2, 3)
    assert torch.allclose(look_up(images, matrices), images.rot90(1, dims=(2, 3)), atol=1e-4)


@pytest.mark.parametrize(
    "angle, scale_x, scale_y, right, down, place",
    [
        (math.pi / 6, 1, 1, 0, 0, (8 * math.cos(math.pi / 6), -8 * math.sin(math.pi / 6))),
        (0, 1.25, 1, 0, 0, (8 / 1.25, 0)),
        (0, 1, 1.25, 0, 0, (8, 0)),
        (math.pi / 2, 1, 1.25, 0, 0, (0, -8 / 1.25)),
        (0, 1, 1, 2 / 14, 0, (8 - 2, 0)),
        (0, 1, 1, 0, 2 / 14, (8, -2)),
    ],
    ids=["turned", "narrower", "flatter", "turned and flatter", "shifted", "lifted"],
)
def test_a_known_place_moves_where_arithmetic_says(
    notebook, angle, scale_x, scale_y, right, down, place
):
    numbers = (angle, scale_x, scale_y, right, down)
    matrices = notebook["affine"](*(torch.tensor([float(number)]) for number in numbers))
    moved = centre_of_mass(look_up(dot(column=8, row=0), matrices))
    assert torch.allclose(moved, torch.tensor([place]).float(), atol=0.05), moved


def test_the_strengths_are_degrees_and_pixels(notebook):
    """By how far a place moves at most in a thousand distorted images."""
    augment, generator = notebook["augment"], torch.Generator().manual_seed(0)

    def moved(column, **strength):
        dots = dot(column, row=0).repeat(1000, 1, 1, 1)
        return centre_of_mass(augment(dots, **(NOTHING | strength), generator=generator))

    columns, rows = moved(8, angle=10).unbind(dim=1)
    degrees = torch.atan2(rows, columns).rad2deg()
    assert -10.2 < degrees.min() < -9.5 and 9.5 < degrees.max() < 10.2
    stretched = (moved(8, scale=0.1)[:, 0] / 8).log()
    assert -0.11 < stretched.min() < -0.09 and 0.09 < stretched.max() < 0.11
    for shifts in moved(0, shift=1.5).unbind(dim=1):
        assert -1.6 < shifts.min() < -1.4 and 1.4 < shifts.max() < 1.6


def test_the_same_generator_gives_the_same_batch(notebook, images):
    first, same, other = (
        notebook["augment"](images, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_without_a_generator_the_global_seed_decides(notebook, images):
    batches = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        batches.append(notebook["augment"](images))
    assert torch.equal(batches[0], batches[1]) and not torch.equal(batches[0], batches[2])
