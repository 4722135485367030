"""A square to draw a digit on, with a mouse, a pen or a finger, beside the answer.

``DrawingPad`` is for notebook 05. ``TeachingPad``, for notebook 07, also asks which digit it was.
"""

import html
import io
from collections.abc import Callable
from pathlib import Path

import anywidget
import ipywidgets
import traitlets
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from torch import Tensor

from handwriting.examples import Examples

SIDE = 280  # pixels of the pad, as in pad.js
PEN = 18  # pixels: as thick on the pad as MNIST's strokes are in their image
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"  # the type of such an output
INVITATION = "Draw a digit."
WHERE_IT_IS = (
    "(The drawing pad is here where the notebook runs. "
    "pad.html, in the top folder, is one that needs no notebook.)"
)
LAST_SHOWN = 20  # examples; to draw more takes long

Point = tuple[float, float]


class Canvas(anywidget.AnyWidget):
    """What one draws on, ``pad.js``: wherever it is shown, the strokes are the same as here.

    The browser tells what is drawn, and only here the strokes are changed: so there is one order of
    events, also while Python is busy. A page that is loaded again shows what is here.
    """

    _esm = Path(__file__).with_name("pad.js")
    strokes = traitlets.List().tag(sync=True)  # of each stroke a list of points [x, y]

    def __init__(self):
        super().__init__()
        self.on_msg(self.change_strokes)

    def change_strokes(self, canvas: anywidget.AnyWidget, message: dict, buffers: list) -> None:
        """Do what a message of the browser's says."""
        if message["event"] == "stroke":
            self.strokes = [*self.strokes, message["stroke"]]
        elif message["event"] == "undo":
            self.strokes = self.strokes[:-1]
        elif message["event"] == "clear":
            self.strokes = []


class DrawingPad:
    """Asks for an answer to what is drawn, each time the pen is lifted.

    Args:
        answer: takes the drawing, a PIL image in grey, black on white, and returns a line of HTML,
            and a figure or None.

    Attributes:
        text: the line of HTML that stands beside the pad.
    """

    def __init__(self, answer: Callable[[Image.Image], tuple[str, Figure | None]]):
        self.answer = answer
        self.canvas = Canvas()
        self.canvas.observe(lambda change: self.show_answer(), "strokes")
        self.words = ipywidgets.HTML()
        self.picture = ipywidgets.Image(width=440)
        self.show_answer()

    @property
    def strokes(self) -> list[list[Point]]:
        return list(self.canvas.strokes)

    @property
    def text(self) -> str:
        return self.words.value

    def draw(self, strokes: list[list[Point]]) -> None:
        """Show strokes that were not drawn by hand, and answer."""
        self.clear()  # the same strokes are answered again
        self.canvas.strokes = strokes

    def clear(self) -> None:
        self.canvas.strokes = []

    def show_answer(self) -> None:
        """Say what is drawn. Errors are shown: JupyterLab hides those of a widget."""
        text, figure = INVITATION, None
        if self.strokes:
            try:
                text, figure = self.answer(self.drawing())
            except Exception as error:
                text = f"No answer: {html.escape(str(error))}"
        self.words.value = text
        show_figure(self.picture, figure)

    def drawing(self) -> Image.Image:
        """Return the strokes as a picture, black on white."""
        return draw_strokes(self.strokes)

    def box(self) -> ipywidgets.Box:
        """Return all that is shown."""
        right = ipywidgets.VBox([self.words, self.picture])
        layout = {"grid_gap": "16px", "flex_flow": "row wrap"}  # below each other, if it is narrow
        return ipywidgets.HBox([self.canvas, right], layout=layout)

    def _repr_mimebundle_(self, **kwargs) -> tuple[dict, dict]:
        """Show the pad where the notebook runs. Words stand in its place where it is only read."""
        data, metadata = self.canvas._repr_mimebundle_()  # metadata: for Colab
        data[WIDGET_VIEW]["model_id"] = self.box().model_id
        return data | {"text/plain": WHERE_IT_IS}, metadata


class TeachingPad(DrawingPad):
    """A pad that asks which digit was drawn, keeps the answers as examples, and has them taught.

    Args:
        answer: as for ``DrawingPad``.
        prepare: makes an image, float32 of shape (1, 28, 28), of a drawing, or raises a ValueError.
        examples: where the examples are kept.
        teach: is given all images and labels, and returns a line of HTML. It is called after every
            tenth example, and by a button.

    Attributes:
        images, labels: the examples, as they were read last, a list each.
        report: the line of HTML that stands below the pad.
    """

    def __init__(
        self,
        answer: Callable[[Image.Image], tuple[str, Figure | None]],
        prepare: Callable[[Image.Image], Tensor],
        examples: Examples,
        teach: Callable[[list[Tensor], list[int]], str],
    ):
        super().__init__(answer)
        self.prepare = prepare
        self.examples = examples
        self.teach = teach
        self.images, self.labels = examples.load()
        self.digit_buttons = [self.button_for(digit) for digit in range(10)]
        self.teach_button = ipywidgets.Button(description="Teach")
        self.teach_button.on_click(lambda button: self.learn())
        self.choice = ipywidgets.Dropdown(description="Example")
        self.take_out_button = ipywidgets.Button(description="Take out")
        self.take_out_button.on_click(lambda button: self.take_out(self.choice.value))
        self.line = ipywidgets.HTML()
        self.gallery = ipywidgets.Image()
        self.show_examples()

    @property
    def report(self) -> str:
        return self.line.value

    def button_for(self, digit: int) -> ipywidgets.Button:
        button = ipywidgets.Button(description=str(digit), layout={"width": "40px"})
        button.on_click(lambda button: self.add(digit))
        return button

    def add(self, digit: int) -> None:
        """Keep the drawing as an example of this digit."""
        if not self.strokes:
            self.line.value = "Draw a digit first, and then say which it was."
            return
        try:
            image = self.prepare(self.drawing())
        except ValueError as error:
            self.line.value = f"Not kept: {html.escape(str(error))}"
            return
        if not self.change_examples(lambda: self.examples.add([image], [digit])):
            return  # the drawing is still there
        self.clear()
        if len(self.labels) % 10 == 0:
            self.learn()

    def add_examples(self, images: Tensor, labels: Tensor) -> None:
        """Add images (N, 1, 28, 28) that were not drawn here, and their labels (N,)."""
        self.change_examples(lambda: self.examples.add(list(images), labels.tolist()))

    def take_out(self, number: int) -> None:
        """Take out an example; the first one has the number 1, and 0 stands for none."""
        if number > 0:
            image, label = self.images[number - 1], self.labels[number - 1]
            self.change_examples(lambda: self.examples.take_out(image, label))

    def change_examples(self, change: Callable[[], None]) -> bool:
        """Change what is kept, show what is there now, and return whether that went well."""
        try:
            change()
            self.images, self.labels = self.examples.load()
        except Exception as error:
            self.line.value = f"Not saved: {html.escape(str(error))}"
            return False
        self.show_examples()
        return True

    def learn(self) -> None:
        """Have the examples taught. Errors are shown, as in ``show_answer``."""
        if not self.change_examples(lambda: None):  # another notebook may have added some
            return
        if not self.labels:
            self.line.value = "There are no examples yet: draw a digit, and say which it was."
            return
        self.line.value = "Learning …"
        try:
            self.line.value = self.teach(self.images, self.labels)
        except KeyboardInterrupt:
            self.line.value = "Stopped: the network is the one that it was before."
        except Exception as error:
            self.line.value = f"Nothing was learned: {html.escape(str(error))}"

    def show_examples(self) -> None:
        names = [f"{number}: a {digit}" for number, digit in enumerate(self.labels, start=1)]
        self.choice.options = [("…", 0), *zip(names, range(1, len(names) + 1), strict=True)]
        self.choice.value = 0
        self.line.value = f"Examples: {len(names)}"
        last = slice(-LAST_SHOWN, None)
        figure = figure_of(self.images[last], names[last]) if names else None
        show_figure(self.gallery, figure)

    def box(self) -> ipywidgets.Box:
        which = ipywidgets.HBox([ipywidgets.HTML("It was a"), *self.digit_buttons])
        examples = ipywidgets.HBox([self.teach_button, self.choice, self.take_out_button])
        return ipywidgets.VBox([super().box(), which, examples, self.line, self.gallery])


def draw_strokes(strokes: list[list[Point]]) -> Image.Image:
    """Return strokes, in pixels of the pad, as a picture, black on white."""
    page = Image.new("L", (SIDE, SIDE), "white")
    pen = ImageDraw.Draw(page)
    for stroke in strokes:
        points = [tuple(point) for point in stroke]  # the browser's are lists
        pen.line(points, fill="black", width=PEN, joint="curve")
        for x, y in (stroke[0], stroke[-1]):  # round ends
            r = PEN / 2
            pen.ellipse((x - r, y - r, x + r, y + r), fill="black")
    return page


def figure_of(images: list[Tensor], titles: list[str], columns: int = 10) -> Figure:
    """Draw images (1, 28, 28) in a grid, each under its title."""
    rows = -(-len(images) // columns)  # rounded up
    figure = Figure(figsize=(0.8 * columns, rows), layout="constrained")
    for place, (image, title) in enumerate(zip(images, titles, strict=True), start=1):
        ax = figure.add_subplot(rows, columns, place, xticks=[], yticks=[])
        ax.imshow(image[0].numpy(), cmap="gray_r", vmin=0, vmax=1)
        ax.set_title(title, fontsize=9)
    return figure


def show_figure(image: ipywidgets.Image, figure: Figure | None) -> None:
    """Show a figure in an image. Without one hide it: browsers show an empty image as broken."""
    file = io.BytesIO()
    if figure:
        figure.savefig(file, format="png")
    image.value = file.getvalue()
    image.layout.display = None if figure else "none"
