"""Pages, and pieces of pages, that are composed, so that the right answer is known."""

from handwriting.composed.ink import draw_pen_digit
from handwriting.composed.pages import (
    DIFFICULTIES,
    ComposedPage,
    compose_crop,
    compose_heading,
    compose_joined,
    compose_page,
    compose_page_with_words,
    readable_pages,
    write_line,
)
from handwriting.composed.paper import photograph
from handwriting.composed.pieces import (
    PIECE,
    Piece,
    Pieces,
    compose_piece,
    targets_of,
)
from handwriting.composed.writing import LEFT_OUT, NO_DIGIT

__all__ = [
    "DIFFICULTIES",
    "LEFT_OUT",
    "NO_DIGIT",
    "PIECE",
    "ComposedPage",
    "Piece",
    "Pieces",
    "compose_crop",
    "compose_heading",
    "compose_joined",
    "compose_page",
    "compose_page_with_words",
    "compose_piece",
    "draw_pen_digit",
    "photograph",
    "readable_pages",
    "targets_of",
    "write_line",
]
