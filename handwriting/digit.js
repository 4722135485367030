// From strokes on the pad to an image as in MNIST, in a browser: what digit.py does in Python. Only what
// paper needs is left out: black strokes on white are ink without a search. Images are arrays of rows.

import { PEN, SIDE } from "./pad.js";

const FINE = 200; // pixels: the sides of the drawing in which the ink is looked for
const PIXEL = SIDE / FINE; // its side, in pixels of the pad
const BOX = 20; // pixels: in MNIST the longer side of a digit
const CENTRE = 14; // in MNIST the row and the column of a digit's centre of mass
export const SIZE = 28; // pixels: the sides of an image of MNIST

// Lengths as shares of the height of the tallest part; digit.py has the reasons.
const MAX_SPECK = 1 / 8;
const MAX_GAP_DOWN = 1 / 3;
const MAX_GAP_SIDEWAYS = 1 / 16;
const MIN_HEIGHT = 0.4;
const MAX_WIDTH = 3;
const MAX_INK = 0.5; // of the pad; Python says then that no ink stands out

/** Make an array of rows. The function valueAt(row, column) says what is where. */
export const grid = (rows, columns, valueAt) =>
  Array.from({ length: rows }, (_, row) =>
    Array.from({ length: columns }, (_, column) => valueAt(row, column)),
  );
export const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

/** Round as Python does: halves go to the even number. */
const round = (x) => (x % 1 === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));

/**
 * Return the image, 28 × 28, 0 (paper) to 1 (ink), or say why there is none: {image} or {problem}.
 *
 * With an image comes a note, if something beside the digit was left out.
 */
export function prepare(strokes) {
  const ink = inkOf(strokes);
  const numInked = sum(ink.map((row) => row.filter(Boolean).length));
  if (numInked > MAX_INK * FINE * FINE) {
    return { problem: "Hardly any paper is left: clear the pad." };
  }
  const { digits, others } = digitsIn(ink);
  if (digits.length === 0) return { problem: "Draw a digit." };
  if (digits.length > 1) return { problem: `These are ${digits.length} digits: draw one.` };
  const note = others.length > 0 ? "What is too small or too wide for a digit is left out." : "";
  return { image: asInMnist(digits[0]), note };
}

/**
 * Return where ink is, true or false: where the middle of a pixel lies within half a pen of a stroke.
 *
 * This is computed, and not read from a canvas, which some browsers fill with noise when it is read.
 */
function inkOf(strokes) {
  const ink = grid(FINE, FINE, () => false);
  for (const points of strokes) {
    points.forEach((point, number) => addLine(ink, points[Math.max(number - 1, 0)], point));
  }
  return ink;
}

/** Add to the ink a line from one point of the pad to another, with round ends. */
function addLine(ink, start, end) {
  const [left, right] = [start[0], end[0]].sort((a, b) => a - b);
  const [top, bottom] = [start[1], end[1]].sort((a, b) => a - b);
  const radius = PEN / 2;
  const first = (place) => Math.max(0, Math.floor((place - radius) / PIXEL));
  const last = (place) => Math.min(FINE - 1, Math.ceil((place + radius) / PIXEL));
  for (let row = first(top); row <= last(bottom); row++) {
    for (let column = first(left); column <= last(right); column++) {
      const middle = [(column + 0.5) * PIXEL, (row + 0.5) * PIXEL];
      if (distanceToLine(middle, start, end) <= radius) ink[row][column] = true;
    }
  }
}

/** Return how far a place is from the nearest point of a line. */
function distanceToLine([x, y], [startX, startY], [endX, endY]) {
  const [right, down] = [endX - startX, endY - startY];
  const lengthSquared = right * right + down * down || 1; // of a dot it doesn't matter
  const share = ((x - startX) * right + (y - startY) * down) / lengthSquared; // of the way to its end
  const nearest = Math.min(Math.max(share, 0), 1);
  return Math.hypot(x - startX - nearest * right, y - startY - nearest * down);
}

/**
 * Return the digits, each a list of its pixels [row, column], and others, which are too small or too wide.
 *
 * Near parts are one, and specks are none.
 */
function digitsIn(ink) {
  const parts = partsOf(ink);
  const tallest = Math.max(...parts.map((part) => boxOf(part).height));
  const large = parts.filter((part) => {
    const { height, width } = boxOf(part);
    return Math.max(height, width) > MAX_SPECK * tallest;
  });
  const inkOfLarge = grid(FINE, FINE, () => false);
  for (const [row, column] of large.flat()) inkOfLarge[row][column] = true;
  // A 5 may have its bar far above the rest, but a gap sideways separates two digits.
  const thick = thicken(inkOfLarge, MAX_GAP_DOWN * tallest, MAX_GAP_SIDEWAYS * tallest);
  const joined = partsOf(thick).map((part) =>
    part.filter(([row, column]) => inkOfLarge[row][column]),
  );
  const isDigit = (part) => {
    const { height, width } = boxOf(part);
    return height > MIN_HEIGHT * tallest && width < MAX_WIDTH * tallest;
  };
  return { digits: joined.filter(isDigit), others: joined.filter((part) => !isDigit(part)) };
}

/** Return the parts of the ink, each a list of pixels that touch each other, if only at corners. */
function partsOf(ink) {
  const isNew = ink.map((row) => [...row]);
  const parts = [];
  for (let row = 0; row < FINE; row++) {
    for (let column = 0; column < FINE; column++) {
      if (!isNew[row][column]) continue;
      isNew[row][column] = false;
      const part = [[row, column]];
      for (const [r, c] of part) { // the loop also comes to those that are added meanwhile
        for (let i = Math.max(r - 1, 0); i <= Math.min(r + 1, FINE - 1); i++) {
          for (let j = Math.max(c - 1, 0); j <= Math.min(c + 1, FINE - 1); j++) {
            if (isNew[i][j]) part.push([i, j]);
            isNew[i][j] = false;
          }
        }
      }
      parts.push(part);
    }
  }
  return parts;
}

/** Return the ink made thicker: two pixels touch if no more than this lies between them. */
function thicken(ink, gapDown, gapSideways) {
  const down = Math.floor(gapDown / 2);
  const sideways = Math.floor(gapSideways / 2);
  const thick = grid(FINE, FINE, () => false);
  ink.forEach((values, row) =>
    values.forEach((isInk, column) => {
      if (!isInk) return;
      for (let i = Math.max(row - down, 0); i <= Math.min(row + down, FINE - 1); i++) {
        thick[i].fill(true, Math.max(column - sideways, 0), column + sideways + 1);
      }
    }),
  );
  return thick;
}

/** Return where pixels [row, column] are. */
function boxOf(pixels) {
  const rows = pixels.map(([row]) => row);
  const columns = pixels.map(([, column]) => column);
  const [top, left] = [Math.min(...rows), Math.min(...columns)];
  return { top, left, height: Math.max(...rows) - top + 1, width: Math.max(...columns) - left + 1 };
}

/** Scale the longer side of a digit to 20 pixels, and put its centre of mass in the middle. */
function asInMnist(digit) {
  const { top, left, height, width } = boxOf(digit);
  const ink = grid(height, width, () => 0);
  for (const [row, column] of digit) ink[row - top][column - left] = 1;
  const scale = BOX / Math.max(height, width);
  const newHeight = Math.max(1, round(scale * height));
  const newWidth = Math.max(1, round(scale * width));
  const small = resize(ink, newHeight, newWidth);
  const darkest = Math.max(...small.flat());
  const mass = sum(small.flat());
  const centreRow = sum(small.map((values, row) => row * sum(values))) / mass;
  const columns = transpose(small);
  const centreColumn = sum(columns.map((values, column) => column * sum(values))) / mass;
  const firstRow = firstIndex(centreRow, newHeight);
  const firstColumn = firstIndex(centreColumn, newWidth);
  return grid(SIZE, SIZE, (row, column) => {
    const value = small[row - firstRow]?.[column - firstColumn] ?? 0; // outside is paper
    return value / darkest;
  });
}

/**
 * Return the row or column where the ink begins, so that its centre of mass is at 14.
 *
 * Near an edge of the image it is as close to that as all of the ink can be inside.
 */
function firstIndex(centre, length) {
  const first = round(CENTRE - centre);
  return Math.min(Math.max(first, 0), SIZE - length);
}

/** Scale an image by a bicubic filter, as Pillow does; what comes out below 0 is 0. */
function resize(image, height, width) {
  const narrow = resizeRows(image, width);
  return transpose(resizeRows(transpose(narrow), height)).map((row) =>
    row.map((value) => Math.max(value, 0)),
  );
}

const transpose = (image) => grid(image[0].length, image.length, (row, column) => image[column][row]);

function resizeRows(image, width) {
  const weights = bicubicWeights(image[0].length, width);
  const newPixel = (row, ofPixel) => sum(row.map((value, old) => value * ofPixel[old]));
  return image.map((row) => weights.map((ofPixel) => newPixel(row, ofPixel)));
}

/** Return how much each old pixel of a row counts for each new one: R. Keys' filter of 1981. */
function bicubicWeights(oldWidth, newWidth) {
  const scale = oldWidth / newWidth;
  const weights = grid(newWidth, oldWidth, (index, old) => {
    const distance = Math.abs(old + 0.5 - (index + 0.5) * scale); // between their middles
    const x = distance / Math.max(scale, 1); // what gets smaller is smoothed, too
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    if (x < 2) return ((-0.5 * x + 2.5) * x - 4) * x + 2;
    return 0;
  });
  return weights.map((ofPixel) => ofPixel.map((weight) => weight / sum(ofPixel)));
}
