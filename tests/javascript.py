"""What the page's JavaScript has to compute, and what Python says: for Node and for a browser."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from checkpoints import PEOPLE_PATH, load_checkpoint
from handwriting.data import load_pen_digits
from handwriting.digit import DIGIT_SIDE, cut_digits, find_ink, load_grey
from handwriting.pad import draw_strokes
from handwriting.teaching import on_pad
from mnist_helpers import ConvolutionalNetwork, read_mnist


@cache
def drawings() -> list:
    """Return the strokes of 200 pen digits."""
    return [on_pad(digit.strokes) for digit in load_pen_digits()[::37][:200]]


def load_network() -> ConvolutionalNetwork:
    """Return the network of the page."""
    network = ConvolutionalNetwork().eval()
    load_checkpoint(network, PEOPLE_PATH)
    return network


def images_to_read(number: int) -> tuple[list, Tensor]:
    """Return test images as lists of rows, and the network's probabilities, (number, 10)."""
    images = read_mnist(train=False)[0][:number] / 255  # (number, 28, 28)
    with torch.inference_mode():
        probabilities = load_network()(images.unsqueeze(1)).exp()
    return images.tolist(), probabilities


def stages_of(image: Tensor) -> dict[str, Tensor]:
    """Return what the network computes of an image, (1, 28, 28), under the names of lookInside."""
    network = load_network()
    with torch.inference_mode():
        edges = network.conv1(image[None])
        first = torch.relu(network.pool(edges))
        shapes = network.conv2(first)
        second = torch.relu(network.pool(shapes))
        unit_sums = network.hidden(second.flatten(1))
        sums = network.output(torch.relu(unit_sums))
    stages = {"edges": edges, "first": first, "shapes": shapes, "second": second}
    stages |= {"unitSums": unit_sums, "units": torch.relu(unit_sums), "sums": sums}
    return {name: values[0] for name, values in stages.items()}


def gradient_of(digit: int, image: Tensor) -> Tensor:
    """Return the gradient of a digit's sum with respect to an image, (1, 28, 28)."""
    network = load_network()
    image = image.clone().requires_grad_()
    sums = []
    hook = network.output.register_forward_hook(lambda layer, inputs, output: sums.append(output))
    network(image)
    hook.remove()
    sums[0][0, digit].backward()
    return image.grad


def ink_of(strokes) -> np.ndarray:
    """Return where strokes have ink, (200, 200), as Python draws and finds it."""
    return find_ink(load_grey(draw_strokes(strokes), DIGIT_SIDE))


def inks_to_prepare() -> tuple[list, Tensor]:
    """Return where drawings have ink, as lists of rows, and the images (N, 28, 28) made of it."""
    bar = np.zeros((DIGIT_SIDE, DIGIT_SIDE), dtype=bool)
    bar[20:180, 90:110] = True  # of MNIST's 28 × 28 pixels it takes 20 × 2.5
    inks, images = [bar.tolist()], [cut_digits(bar)[0]]
    for number, drawing in enumerate(drawings()[::4]):
        size = 0.5 + number / 100  # else all are as tall
        strokes = [[(size * x, size * y) for x, y in stroke] for stroke in drawing]
        ink = find_ink(load_grey(draw_strokes(strokes), DIGIT_SIDE))
        found = cut_digits(ink)
        if len(found) == 1:
            inks.append(ink.tolist())
            images.append(found[0])
    return inks, torch.cat(images)
