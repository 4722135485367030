"""The page's JavaScript in plain Node, without a browser: it computes what Python computes."""

import json
import shutil
import subprocess

import pytest
import torch
from javascript import images_to_read, inks_to_prepare

from checkpoints import CONVOLUTIONAL_PATH, ROOT

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


def test_its_probabilities_are_those_of_pytorch(run):
    images, expected = images_to_read(20)
    weights = torch.load(CONVOLUTIONAL_PATH)
    numbers = torch.cat([tensor.flatten() for tensor in weights.values()]).tolist()
    shapes = {name: list(tensor.shape) for name, tensor in weights.items()}
    script = """import { probabilitiesOf, unpackWeights } from "./network.js";
    const layers = unpackWeights(argument.numbers, argument.shapes);
    console.log(JSON.stringify(argument.images.map((image) => probabilitiesOf(image, layers))));
    """
    found = run(script, {"images": images, "numbers": numbers, "shapes": shapes})
    assert (torch.tensor(found) - expected).abs().max() <= 1e-5


def test_ink_becomes_the_image_that_python_makes_of_it(run):
    inks, expected = inks_to_prepare()
    script = """import { digitsIn, asInMnist } from "./digit.js";
    console.log(JSON.stringify(argument.map((ink) => asInMnist(digitsIn(ink)[0]))));
    """
    made = run(script, inks, digit="digitsIn, asInMnist")
    assert len(expected) > 45 and (torch.tensor(made) - expected).abs().max() <= 1e-5
