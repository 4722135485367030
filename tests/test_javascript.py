"""The page's JavaScript in plain Node, without a browser: it computes what Python computes."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
from javascript import (
    drawings,
    gradient_of,
    images_to_read,
    ink_of,
    inks_to_prepare,
    stages_of,
)
from scipy import ndimage

from checkpoints import PEOPLE_PATH, ROOT

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node")


@pytest.fixture
def run(tmp_path):
    """Run a script beside the modules, of which names are given it that they keep to themselves."""

    def run(script, argument, **names):
        for path in (ROOT / "handwriting").glob("*.js"):
            text = path.read_text(encoding="utf-8")
            if path.stem in names:
                text += f"\nexport {{ {names[path.stem]} }};\n"
            (tmp_path / path.name).write_text(text, encoding="utf-8")
        (tmp_path / "package.json").write_text('{"type": "module"}')
        (tmp_path / "argument.json").write_text(json.dumps(argument))
        start = """import { readFileSync } from "node:fs";
        const argument = JSON.parse(readFileSync("argument.json"));
        """
        (tmp_path / "script.js").write_text(start + script)
        ended = subprocess.run(["node", "script.js"], cwd=tmp_path, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    return run


def with_weights(images):
    """What a script needs to run the network."""
    weights = torch.load(PEOPLE_PATH)
    numbers = torch.cat([tensor.flatten() for tensor in weights.values()]).tolist()
    shapes = {name: list(tensor.shape) for name, tensor in weights.items()}
    return {"images": images, "numbers": numbers, "shapes": shapes}


def test_its_probabilities_are_those_of_pytorch(run):
    images, expected = images_to_read(20)
    script = """import { lookInside, unpackWeights } from "./network.js";
    const layers = unpackWeights(argument.numbers, argument.shapes);
    const found = argument.images.map((image) => lookInside(image, layers).probabilities);
    console.log(JSON.stringify(found));
    """
    found = run(script, with_weights(images))
    assert (torch.tensor(found) - expected).abs().max() <= 1e-5


def test_each_stage_and_each_digits_gradient_are_those_of_pytorch(run):
    images, _ = images_to_read(20)
    script = """import { gradientOf, lookInside, unpackWeights } from "./network.js";
    const layers = unpackWeights(argument.numbers, argument.shapes);
    const found = argument.images.map((image, number) => {
      const inside = lookInside(image, layers);
      return { ...inside, gradient: gradientOf(number % 10, inside, layers) };
    });
    console.log(JSON.stringify(found));
    """
    for number, found in enumerate(run(script, with_weights(images))):
        image = torch.tensor(images[number])[None]  # (1, 28, 28)
        expected = stages_of(image)
        for name, values in expected.items():
            assert (torch.tensor(found[name]) - values).abs().max() <= 1e-4, name
        gradient = gradient_of(number % 10, image)[0]
        assert gradient.abs().max() > 0.01
        assert (torch.tensor(found["gradient"]) - gradient).abs().max() <= 1e-4


def test_strokes_become_nearly_the_ink_that_pillow_draws(run):
    """What differs, one pixel of twenty, lies at the edges of strokes."""
    script = """import { inkOf } from "./digit.js";
    const asNumbers = (ink) => ink.map((row) => row.map(Number));
    console.log(JSON.stringify(argument.map((strokes) => asNumbers(inkOf(strokes)))));
    """
    drawn = np.array(run(script, drawings()[:50], digit="inkOf"), dtype=bool)
    expected = np.array([ink_of(strokes) for strokes in drawings()[:50]])
    differ = drawn != expected
    touch = np.ones((1, 3, 3))
    is_edge = ndimage.binary_dilation(expected, touch) & ~ndimage.binary_erosion(expected, touch)
    assert differ.sum() < 0.06 * expected.sum()
    assert (differ & ~is_edge).sum() < 0.001 * expected.sum()


def test_a_pad_that_is_filled_and_what_is_no_digit_are_spoken_of(run):
    script = """import { prepare } from "./digit.js";
    console.log(JSON.stringify(argument.map((strokes) => prepare(strokes))));
    """
    filled = [[[0, y], [280, y]] for y in range(0, 281, 9)]
    one, minus = [[140, 50], [140, 230]], [[30, 140], [80, 140]]
    answers = run(script, [filled, [one], [one, minus], []])
    assert answers[0]["problem"].startswith("Hardly any paper is left")
    assert answers[1]["note"] == "" and "left out" in answers[2]["note"]
    assert answers[1]["image"] == answers[2]["image"] and answers[3]["problem"] == "Draw a digit."


def test_ink_becomes_the_image_that_python_makes_of_it(run):
    inks, expected = inks_to_prepare()
    script = """import { digitsIn, asInMnist } from "./digit.js";
    console.log(JSON.stringify(argument.map((ink) => asInMnist(digitsIn(ink).digits[0]))));
    """
    made = run(script, inks, digit="digitsIn, asInMnist")
    assert len(expected) > 45 and (torch.tensor(made) - expected).abs().max() <= 1e-5


# Syntax and methods that browsers have since 2021 or later, some of them since 2025.
NEW = re.compile(
    r"""\?\?=|\|\|=|&&=|static\s*\{|^(const\s.*=\s*)?await\b
    |\.(at|findLast|findLastIndex|replaceAll|replaceChildren|toReversed|toSorted|toSpliced|with)\(
    |\b(hasOwn|groupBy|structuredClone|Promise\.any|WeakRef)\b""",
    re.MULTILINE | re.VERBOSE,
)


def test_a_browser_of_2020_understands_the_script():
    for new in ("a ??= 1", "const a = await b;", "list.at(-1)", "element.replaceChildren()"):
        assert NEW.search(new)
    for path in [*(ROOT / "handwriting").glob("*.js"), ROOT / "tools" / "reader.html"]:
        code = re.sub(r"/\*.*?\*/|//[^\n]*", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not NEW.search(code), path
