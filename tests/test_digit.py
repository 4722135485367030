"""Pictures of digits: what ``prepare`` and ``read_digits`` make of any kind of them."""

import contextlib
import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from checkpoints import AUGMENTED_PATH, load_checkpoint
from handwriting.composed import photograph, write_line
from handwriting.data import load_semeion
from handwriting.digit import LUMINANCE, cut_digits, load_grey, prepare, prepare_box
from handwriting.page import read_digits
from mnist_helpers import Network, read_mnist

PIXELS, LABELS = read_mnist(train=False)
NETWORK = Network().eval()
load_checkpoint(NETWORK, AUGMENTED_PATH)


def accuracy(images, labels):
    with torch.inference_mode():
        return (NETWORK(images).argmax(dim=1) == labels).double().mean().item()


def page(index, size=140, height=200, width=160, top=30, left=10):
    """Test image ``index``, ``size`` pixels wide, black ink on white paper: (H, W), uint8."""
    ink = np.zeros((height, width), np.uint8)
    digit = Image.fromarray(PIXELS[index].numpy()).resize((size, size))
    ink[top : top + size, left : left + size] = digit
    return 255 - ink


# Accuracy -----------------------------------------------------------------------------------------


def pasted(image, rng):
    """A digit of any size, anywhere on a large canvas, as RGB under uneven light."""
    size = int(rng.integers(28, 300))
    height, width = (int(size * rng.uniform(1, 2.5)) for _ in range(2))
    top, left = rng.integers(height - size + 1), rng.integers(width - size + 1)
    ink = np.zeros((height, width))
    ink[top : top + size, left : left + size] = Image.fromarray(image).resize((size, size))
    down, right = rng.uniform(-0.2, 0.2, size=2)
    light = 0.75 + down * np.linspace(-1, 1, height)[:, None] + right * np.linspace(-1, 1, width)
    grey = (255 * light * (1 - 0.85 * ink / 255)).clip(0, 255).astype(np.uint8)
    return np.stack([grey] * 3, axis=2)


def test_other_peoples_digits_are_read_and_no_answer_hangs_on_rounding():
    """The second half of Semeion, whose table stands in notebook 05 and is compared by nbval."""
    scans, labels = (tensor[797:] for tensor in load_semeion())
    prepared = torch.zeros(len(scans), 1, 28, 28)  # what is refused stays blank
    for image, scan in zip(prepared, F.pad(scans, [2, 2, 2, 2]), strict=True):
        with contextlib.suppress(ValueError):
            image[:] = prepare(scan)
    assert accuracy(prepared, labels) >= 0.88
    with torch.inference_mode():
        first, second = NETWORK(prepared).topk(2, dim=1).values.unbind(dim=1)
    assert (first - second).min() > 1e-4


@pytest.mark.parametrize("ink", ["dark", "light"])
def test_digits_pasted_anywhere_are_read_as_well_as_before(ink):
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(LABELS), size=500, replace=False)
    right = 0
    for index in chosen:
        picture = pasted(PIXELS[index].numpy(), rng)
        try:
            image = prepare(picture if ink == "dark" else 255 - picture)
        except ValueError as error:  # the parts of a few lie far apart: not read, so not right
            assert "digits" in str(error)
        else:
            right += accuracy(image, LABELS[index])
    before = accuracy(PIXELS[chosen, None] / 255, LABELS[chosen])
    assert right / len(chosen) >= before - 0.01


@pytest.mark.slow
def test_lines_are_read_from_end_to_end():
    """Lines as composed for notebook 05: ruled paper, uneven light, a slant and noise."""
    rng = np.random.default_rng(1)
    right = 0
    for _ in range(200):
        chosen = rng.integers(len(LABELS), size=rng.integers(1, 11))
        ink = write_line(PIXELS[chosen].numpy(), rng)
        line = photograph(ink, rng)
        rows = read_digits(line)
        if [len(row) for row in rows] != [len(chosen)]:
            continue
        # The right number of digits, and nearly each of them read.
        names = np.array([reading.digit for reading in rows[0]])
        right += np.mean(names == LABELS[chosen].numpy()) >= 1 - 2 / len(chosen)
    assert right >= 0.97 * 200


# The same digit in any kind of picture ------------------------------------------------------------


def with_alpha(grey, ink):
    """Ink of one grey value on nothing: what a drawing program exports."""
    picture = Image.new("RGBA", grey.shape[::-1], (ink, ink, ink, 0))
    picture.putalpha(Image.fromarray(255 - grey))
    return picture


GREY = page(0)
KINDS = {
    "light ink": 255 - GREY,
    "bool": GREY > 127,
    "uint16": GREY.astype(np.uint16) * 257,
    "float in [0, 1]": GREY / 255,
    "float in [-1, 1]": GREY / 127.5 - 1,
    "float16": (GREY / 255).astype(np.float16),
    "one channel": GREY[..., None],
    "a tensor": torch.from_numpy(GREY)[None],
    "a tensor of bfloat16": (torch.from_numpy(GREY) / 255).bfloat16(),
    "a tensor with a gradient": (torch.from_numpy(GREY) / 255)[None].requires_grad_(),
    "RGB array": np.stack([GREY] * 3, axis=2),
    "RGB floats": np.stack([GREY / 255] * 3, axis=2),
    "RGBA array": np.stack([GREY] * 3 + [np.full_like(GREY, 255)], axis=2),
    "not contiguous": np.asfortranarray(GREY),
    "blue ink on yellow": np.stack([GREY, GREY, 255 - GREY // 2], axis=2),
    **{f"PIL {mode}": Image.fromarray(GREY).convert(mode) for mode in ("L", "P", "RGB", "CMYK")},
    **{f"PIL {mode}": Image.fromarray(GREY).convert(mode) for mode in ("LA", "RGBA", "F", "I")},
    "PIL I;16": Image.fromarray(GREY.astype(np.uint16) * 257),
    "PIL 1": Image.fromarray(GREY > 127),
    "dark ink on nothing": with_alpha(GREY, 0),
    "light ink on nothing": with_alpha(GREY, 255),
    "low contrast": 100 + GREY // 8,
    "three times as large": np.kron(GREY, np.ones((3, 3), np.uint8)),
    "on its own": GREY[40:165, 30:135],
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_picture_makes_no_difference(kind):
    difference = (prepare(KINDS[kind]) - prepare(GREY)).abs()
    assert difference.mean() < 0.02 and difference.max() < 0.5


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_red_green_and_blue_count_as_much_as_they_shine(channel):
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[..., channel] = 255
    expected = 255 * (0.2125, 0.7154, 0.0721)[channel]
    for picture in (pixels, Image.fromarray(pixels)):
        assert load_grey(picture, 200) == pytest.approx(expected, abs=0.01)
    assert LUMINANCE.sum() == pytest.approx(1)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "tiff"])
def test_files_are_read_by_their_path(tmp_path, suffix):
    path = tmp_path / f"digit.{suffix}"
    Image.fromarray(GREY).save(path)
    for name in (path, str(path)):
        assert (prepare(name) - prepare(GREY)).abs().mean() < 0.01
    assert read_digits(path)[0][0][0] == LABELS[0]


def test_an_open_file_is_read_as_its_path_is(tmp_path):
    path = tmp_path / "digit.png"
    Image.fromarray(GREY).save(path)
    expected = prepare(path)
    assert torch.equal(prepare(io.BytesIO(path.read_bytes())), expected)
    with path.open("rb") as file:
        assert torch.equal(prepare(file), expected)
    with pytest.raises(ValueError, match="the open file can't be read"):
        prepare(io.BytesIO(b"no picture"))


def test_the_bytes_of_a_file_are_read_as_the_file_is(tmp_path):
    """As Colab's upload gives them."""
    path = tmp_path / "digit.png"
    Image.fromarray(GREY).save(path)
    for content in (path.read_bytes(), bytearray(path.read_bytes()), memoryview(path.read_bytes())):
        assert torch.equal(prepare(content), prepare(path))
    with pytest.raises(ValueError, match="the picture can't be read") as error:
        prepare(b"no picture" * 10_000)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("limit", [10_000, 20_000])  # of 32,000 pixels: refused, or warned of
def test_a_huge_photo_is_read_if_it_is_a_jpeg(tmp_path, monkeypatch, limit):
    for suffix in ("jpg", "png"):
        Image.fromarray(GREY).save(tmp_path / f"digit.{suffix}")
    expected = prepare(tmp_path / "digit.jpg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    assert torch.equal(prepare(tmp_path / "digit.jpg"), expected)
    if limit == 10_000:
        with pytest.raises(ValueError, match=r"digit.png can't be read: it has too many pixels"):
            prepare(tmp_path / "digit.png")
    else:
        assert prepare(tmp_path / "digit.png").shape == (1, 28, 28)


def test_a_photo_is_turned_as_the_camera_was_held(tmp_path):
    path, exif = tmp_path / "photo.png", Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(np.rot90(GREY)).save(path, exif=exif)
    assert torch.equal(prepare(path), prepare(GREY))
    assert torch.equal(prepare(Image.open(path)), prepare(GREY))
    assert not torch.equal(prepare(np.rot90(GREY)), prepare(GREY))


@settings(max_examples=60, deadline=None)
@given(
    index=st.integers(0, 9_999), size=st.integers(30, 200), seed=st.integers(0, 2**32 - 1),
    light=st.booleans(),
)  # fmt: skip
def test_what_is_prepared_looks_like_mnist(index, size, seed, light):
    rng = np.random.default_rng(seed)
    height, width = size + rng.integers(200, size=2)
    top, left = rng.integers(height - size + 1), rng.integers(width - size + 1)
    picture = page(index, size, height, width, top, left)
    try:
        image = prepare(255 - picture if light else picture)
    except ValueError as error:
        assert "digits" in str(error)  # a few of MNIST's have parts that lie far apart
        return
    assert image.shape == (1, 28, 28) and image.dtype == torch.float32
    assert image.min() == 0 and image.max() == 1
    rows, columns = (torch.nonzero(image[0].amax(dim=1 - axis) > 0.05)[:, 0] for axis in (0, 1))
    height, width = (1 + (found[-1] - found[0]).item() for found in (rows, columns))
    assert 19 <= max(height, width) <= 20
    middle = [
        (image[0].sum(dim=1 - axis) @ torch.arange(28.0) / image.sum()).item() for axis in (0, 1)
    ]
    # Where the margin allows: ink is never pushed out of the image.
    for place, ends in zip(middle, (rows, columns), strict=True):
        at_the_edge = ends[0] == 0 or ends[-1] == 27
        assert abs(place - 14) <= 1 or at_the_edge


def test_a_long_thin_picture_is_read_as_a_file_too(tmp_path):
    one = Image.new("L", (24, 800), 255)
    one.paste(0, (8, 40, 16, 760))
    assert (prepare(one) - prepare(np.asarray(one))).abs().mean() < 0.02


def test_the_readers_picture_is_left_as_it_is():
    array, picture = GREY.copy(), Image.fromarray(np.stack([GREY] * 3, axis=2))
    before = picture.tobytes()
    prepare(array), prepare(picture)
    assert (array == GREY).all()
    assert picture.tobytes() == before and picture.size == GREY.shape[::-1]


# Lines --------------------------------------------------------------------------------------------


def side_by_side(*indices):
    return np.hstack([page(index, width=150) for index in indices])


def test_a_line_is_read_from_left_to_right_with_each_digits_probability():
    (row,) = read_digits(side_by_side(0, 1, 2, 3))
    assert [reading.digit for reading in row] == LABELS[:4].tolist()
    assert all(0.5 < reading.probability <= 1 for reading in row)


def test_hyphens_and_specks_between_the_digits_are_left_out():
    line = side_by_side(0, 1)
    line[100:108, 130:155] = 0  # a hyphen
    line[20:24, 20:24] = 0
    assert [reading.digit for reading in read_digits(line)[0]] == LABELS[:2].tolist()


def test_specks_beside_a_digit_change_nothing():
    dusty = page(0)
    dusty[50:53, 75:78] = dusty[20:23, 150:153] = 0  # right above it, and far from it
    assert torch.equal(prepare(dusty), prepare(page(0)))


def test_ruled_lines_are_no_digits():
    with pytest.raises(ValueError, match="no digit found"):
        read_digits(WRONG["ruled lines"][0])


def test_the_parts_of_a_broken_digit_stay_together():
    broken = page(0)
    broken[95:100] = 255  # a cut through the whole digit
    assert prepare(broken).shape == (1, 28, 28)


# Boxes --------------------------------------------------------------------------------------------


def test_a_box_is_prepared_with_a_rim_of_paper_around_it():
    """A 1 fills its box. Without paper around it there would be no ink that stands out."""
    paper = np.full((120, 100), 230, np.float32)
    paper[30:90, 40:52] = 20
    image = prepare_box(paper, (30, 40, 90, 52))
    rows, columns = (image[0] > 0.5).nonzero().unbind(dim=1)
    assert (rows.min(), rows.max()) == (4, 23) and columns.max() - columns.min() == 3


def test_of_a_box_all_parts_are_kept_and_no_neighbours_ink():
    paper = np.full((140, 140), 230, np.float32)
    box = (30, 40, 90, 72)
    paper[30:90, 40:48] = 20  # two parts of one digit, with a gap as between two
    paper[30:90, 64:72] = 20
    alone = prepare_box(paper, box)
    columns = (alone[0] > 0.5).any(dim=0)
    assert columns.sum() == 6 and columns.nonzero().max() - columns.nonzero().min() == 10
    paper[25:95, 76:84] = 20  # the next digit begins within the rim of nine pixels
    paper[94:130, 50:60] = 20  # and so does the one below
    assert torch.equal(prepare_box(paper, box), alone)
    paper[40:80, 94:100] = 20
    with pytest.raises(ValueError, match="no digit found"):
        prepare_box(paper, (30, 100, 90, 120))


# Pictures of no use -------------------------------------------------------------------------------

PLACES = np.linspace(0, 255, 200).astype(np.uint8)
NOISE = np.random.default_rng(0)
BLANK = "no ink stands out from the paper"
WRONG = {
    "white": (np.full((200, 200), 255, np.uint8), BLANK),
    "black": (np.zeros((200, 200)), BLANK),
    "noise": (NOISE.integers(0, 256, (200, 200)), BLANK),
    "faint noise": (220 + 3 * NOISE.standard_normal((200, 200)), BLANK),
    "a shadow": (np.tile(PLACES, (200, 1)), BLANK),
    "half black": (np.where(PLACES < 128, 0, 255) * np.ones((200, 1)), BLANK),
    "nothing but transparency": (np.zeros((200, 200, 4), np.uint8), BLANK),
    "ruled lines": (np.tile(np.where(np.arange(200) % 30 < 2, 150, 230), (200, 1)).T, "no digit"),
    "salt": (np.where(NOISE.random((200, 200)) < 0.01, 0, 255), "no digit found"),
    "two digits": (
        side_by_side(0, 1),
        "2 digits stand side by side: read them with handwriting.read_digits",
    ),
    "three digits": (side_by_side(0, 1, 2), "3 digits stand side by side"),
    "one above the other": (np.vstack([page(3), page(4)]), "stand above each other"),
    "no pixels": (np.zeros((0, 5)), r"shape \(0, 5\)"),
    "few pixels": (np.eye(5), "8 × 8 or more"),
    "one row": (np.arange(50), r"shape \(50,\)"),
    "a batch": (np.zeros((4, 28, 28)), r"\(H, W, 3\) or .*shape \(4, 28, 28\)"),
    "two channels": (np.zeros((50, 50, 2)), r"shape \(50, 50, 2\)"),
    "not a number": (np.full((50, 50), np.nan), "finite"),
    "infinite": (np.where(np.eye(50), np.inf, 0), "finite"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_picture_of_no_use_is_refused_with_the_reason(kind):
    picture, message = WRONG[kind]
    with pytest.raises(ValueError, match=message):
        prepare(picture)


HEIC = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic"


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n broken", HEIC])
def test_a_file_that_is_no_picture_is_named(tmp_path, content):
    path = tmp_path / "IMG_0001.jpg"
    path.write_bytes(content)
    for read in (prepare, read_digits):
        with pytest.raises(ValueError, match=r"IMG_0001.jpg can't be read.*JPEG or PNG") as error:
            read(path)
        assert "HEIC" in str(error.value) and "BytesIO" not in str(error.value)


def test_a_photo_that_ends_too_early_is_named(tmp_path):
    path, file = tmp_path / "half.jpg", io.BytesIO()
    Image.fromarray(GREY).save(file, "jpeg")
    path.write_bytes(file.getvalue()[: len(file.getvalue()) // 2])
    with pytest.raises(ValueError, match=r"half.jpg can't be read.*truncated"):
        prepare(path)


def test_a_path_that_leads_nowhere_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.jpg"):
        prepare(tmp_path / "nothing.jpg")


def test_no_ink_at_all_is_no_digit():
    with pytest.raises(ValueError, match="no digit found"):
        cut_digits(np.zeros((50, 50), bool))
