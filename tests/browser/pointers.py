"""A mouse, fingers and a pen on a canvas, as the operating system would report them to Chromium."""

from collections.abc import Iterator
from itertools import pairwise

Point = tuple[float, float]  # pixels of the page, from the canvas's corner
SEVEN: list[Point] = [(85, 75), (195, 65), (150, 140), (125, 225)]
STEPS = 8  # places that a pointer reports on its way from one point to the next


def on_the_way(points: list[Point]) -> Iterator[Point]:
    """Yield the places between the points, and the points but for the first."""
    for (x, y), (next_x, next_y) in pairwise(points):
        for step in range(1, STEPS + 1):
            yield x + (next_x - x) * step / STEPS, y + (next_y - y) * step / STEPS


class Pointers:
    """What the tests do to a canvas of the page that is open."""

    def __init__(self, browser, canvas):
        self.browser = browser
        self.canvas = canvas

    def place(self, point: Point) -> dict[str, float]:
        corner = self.browser.execute_script(
            """arguments[0].scrollIntoView({ block: "nearest" });
            const { left, top } = arguments[0].getBoundingClientRect();
            return [left, top];""",
            self.canvas,
        )
        return {"x": corner[0] + point[0], "y": corner[1] + point[1]}

    def send(self, kind: str, point: Point, device: str = "mouse", is_held: bool = True) -> None:
        """Send what a mouse or a pen does: mousePressed, mouseMoved or mouseReleased."""
        buttons = {"button": "left", "buttons": 1} if is_held else {"button": "none", "buttons": 0}
        self.browser.execute_cdp_cmd(
            "Input.dispatchMouseEvent",
            self.place(point) | {"type": kind, "clickCount": 1, "pointerType": device} | buttons,
        )

    def touch(self, kind: str, *points: Point, first: int = 0) -> None:
        """Send where fingers are, numbered from ``first``, as touchStart, touchMove or touchEnd.

        To touchEnd and touchCancel no points mean all fingers.
        """
        places = [self.place(point) | {"id": number} for number, point in enumerate(points, first)]
        self.browser.execute_cdp_cmd(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": places}
        )

    def draw(self, points: list[Point], device: str = "mouse") -> None:
        """Press, move through the points and let go."""
        self.send("mousePressed", points[0], device)
        for point in on_the_way(points):
            self.send("mouseMoved", point, device)
        self.send("mouseReleased", points[-1], device)

    def draw_by_finger(self, points: list[Point], last: str = "touchEnd") -> None:
        self.touch("touchStart", points[0])
        for point in on_the_way(points):
            self.touch("touchMove", point)
        self.touch(last)

    def is_ink(self, point: Point) -> bool:
        """Tell whether a place of the canvas is black; what is not has to be white."""
        red, green, blue, opacity = self.browser.execute_script(
            """const [canvas, x, y] = arguments;
            const fineness = canvas.width / canvas.getBoundingClientRect().width;
            const context = canvas.getContext("2d");
            return Array.from(context.getImageData(x * fineness, y * fineness, 1, 1).data);""",
            self.canvas,
            *point,
        )
        assert opacity == 255 and red == green == blue and red in (0, 255)
        return red == 0
