"""A square to draw a digit on, with the mouse or a finger, beside the answer: for notebook 05."""

import io
from collections.abc import Callable

import ipywidgets
from ipycanvas import Canvas
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

SIDE = 280  # pixels of the pad
PEN = 18  # pixels: as thick on the pad as MNIST's strokes are in their image
INVITATION = "Draw a digit."

Point = tuple[float, float]


class DrawingPad:
    """Keeps the strokes, and asks for an answer each time the pen is lifted.

    Args:
        answer: takes the drawing, a PIL image in grey, black on white, and returns a line of HTML,
            and a figure or None.

    Attributes:
        text: the line of HTML that stands beside the pad.
    """

    def __init__(self, answer: Callable[[Image.Image], tuple[str, Figure | None]]):
        self.answer = answer
        self.strokes: list[list[Point]] = []
        self.is_down = False  # the pen
        self.canvas = Canvas(width=SIDE, height=SIDE, layout={"border": "1px solid grey"})
        self.canvas.line_width = PEN
        self.canvas.line_cap = "round"
        self.canvas.on_mouse_down(self.start)
        self.canvas.on_mouse_move(self.move)
        self.canvas.on_mouse_up(self.stop)
        self.canvas.on_mouse_out(self.stop)
        self.canvas.on_touch_start(lambda fingers: self.start(*fingers[0]))
        self.canvas.on_touch_move(lambda fingers: self.move(*fingers[0]))
        self.canvas.on_touch_end(lambda fingers: self.stop())
        self.words = ipywidgets.HTML(INVITATION)
        self.picture = ipywidgets.Image(width=440)
        self.button = ipywidgets.Button(description="Clear")
        self.button.on_click(lambda button: self.clear())
        self.clear()

    @property
    def text(self) -> str:
        return self.words.value

    def draw(self, strokes: list[list[Point]]) -> None:
        """Answer for strokes that were not drawn by hand."""
        self.strokes = strokes
        self.show_answer()

    def clear(self) -> None:
        self.strokes = []
        self.canvas.fill_style = "white"  # a browser's dark theme would shine through
        self.canvas.fill_rect(0, 0, SIDE, SIDE)
        self.canvas.fill_style = "black"
        self.words.value = INVITATION
        self.picture.value = b""

    def start(self, x: float, y: float) -> None:
        self.is_down = True
        self.strokes.append([(x, y)])
        self.canvas.fill_circle(x, y, PEN / 2)  # a dot, if the pen doesn't move

    def move(self, x: float, y: float) -> None:
        if self.is_down:
            last = self.strokes[-1][-1]
            self.canvas.stroke_line(*last, x, y)
            self.strokes[-1].append((x, y))

    def stop(self, x: float = 0, y: float = 0) -> None:
        if self.is_down:
            self.is_down = False
            self.show_answer()

    def show_answer(self) -> None:
        text, figure = self.answer(self.drawing())
        self.words.value = text
        self.picture.value = png_of(figure) if figure else b""

    def drawing(self) -> Image.Image:
        """Return the strokes as a picture, black on white."""
        page = Image.new("L", (SIDE, SIDE), "white")
        pen = ImageDraw.Draw(page)
        for stroke in self.strokes:
            pen.line(stroke, fill="black", width=PEN, joint="curve")
            for x, y in (stroke[0], stroke[-1]):  # round ends
                r = PEN / 2
                pen.ellipse((x - r, y - r, x + r, y + r), fill="black")
        return page

    def _repr_mimebundle_(self, **kwargs) -> dict:
        """Show the pad where the notebook runs. Words stand in its place where it is only read."""
        left = ipywidgets.VBox([self.canvas, self.button])
        right = ipywidgets.VBox([self.words, self.picture])
        box = ipywidgets.HBox([left, right], layout={"grid_gap": "16px"})
        words = {"text/plain": "(The drawing pad is here where the notebook runs.)"}
        return box._repr_mimebundle_() | words


def png_of(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
