"""The grid of pictures."""

import matplotlib.pyplot as plt
import numpy as np
import torch

from mnist_helpers import plot_digits


def test_plot_digits_pairs_each_image_with_its_title(loaders):
    images, labels = next(iter(loaders[0]))
    axes = plot_digits(images[:11], labels[:11].tolist(), columns=4)
    assert len(axes) == 11
    for ax, image, label in zip(axes, images, labels, strict=False):
        assert np.array_equal(ax.images[0].get_array(), image[0].numpy())
        assert ax.get_title() == str(label.item())
    plt.close("all")


def test_images_that_record_gradients_or_have_few_bits_are_shown():
    """Such as those of an attack, or of a network that draws."""
    images = torch.rand(2, 1, 28, 28, requires_grad=True)
    assert len(plot_digits(images, "ab")) == len(plot_digits(images.bfloat16(), "ab")) == 2
    plt.close("all")
