// The convolutional network of notebook 08, with the weights of 09, in a browser: products and sums, the
// largest of some numbers, and at the end exponentials; and back, from a sum to the pixels. An image and
// each feature map is an array of rows.

import { grid, sum } from "./digit.js";

/** Return all that the network computes of an image, 28 × 28, 0 (paper) to 1 (ink), stage by stage. */
export function lookInside(image, { conv1, conv2, hidden, output }) {
  const edges = convolve([image], conv1); // 16 maps of 28 × 28
  const first = relu(pool(edges)); // 16 maps of 14 × 14
  const shapes = convolve(first, conv2); // 32 maps of 14 × 14
  const second = relu(pool(shapes)); // 32 maps of 7 × 7
  const unitSums = linear(second.flat(2), hidden); // 1,568 numbers become 64
  const units = unitSums.map((x) => Math.max(x, 0));
  const sums = linear(units, output); // one for each digit
  return { image, edges, first, shapes, second, unitSums, units, sums, probabilities: softmax(sums) };
}

/**
 * Return the gradient of a digit's sum with respect to the image: for each pixel, how fast the sum would
 * grow with more ink there.
 *
 * It is the chain rule of notebook 03: back from the sum to the pixels, slopes are multiplied along each
 * path, and where paths meet, they are added up.
 */
export function gradientOf(digit, inside, layers) {
  const ofUnits = layers.output.weight[digit].map((weight, unit) =>
    inside.units[unit] > 0 ? weight : 0,
  );
  return gradientOfUnits(ofUnits, inside, layers);
}

/** The same for the sums of hidden units, each times the slope that is given for it. */
export function gradientOfUnits(ofUnits, inside, { conv1, conv2, hidden }) {
  const ofNumbers = hidden.weight[0].map((_, i) =>
    sum(ofUnits.map((slope, unit) => slope * hidden.weight[unit][i])),
  );
  const side = inside.second[0].length;
  const ofSecond = inside.second.map((_, map) =>
    grid(side, side, (row, column) => ofNumbers[(map * side + row) * side + column]),
  );
  const ofShapes = backThroughPool(ofSecond, inside.shapes);
  const ofFirst = backThroughFilters(ofShapes, conv2);
  const ofEdges = backThroughPool(ofFirst, inside.edges);
  return backThroughFilters(ofEdges, conv1)[0];
}

/** Of each 2 × 2 numbers only the largest was kept, and only above 0: it alone has the slope. */
function backThroughPool(slopes, maps) {
  return maps.map((map, number) => {
    const back = map.map((row) => row.map(() => 0));
    slopes[number].forEach((values, row) =>
      values.forEach((slope, column) => {
        const { top, left, largest } = largestOfFour(map, row, column);
        if (largest > 0) back[top][left] = slope;
      }),
    );
    return back;
  });
}

/** Return the largest of the 2 × 2 numbers that become one, and where it is: the first, if several are. */
export function largestOfFour(map, row, column) {
  let [top, left] = [2 * row, 2 * column];
  for (const [i, j] of [[0, 1], [1, 0], [1, 1]]) {
    if (map[2 * row + i][2 * column + j] > map[top][left]) [top, left] = [2 * row + i, 2 * column + j];
  }
  return { top, left, largest: map[top][left] };
}

/** A number went into the sums of all filters, at nine places each: add up slope times weight. */
function backThroughFilters(slopes, { weight }) {
  const side = slopes[0].length;
  const padded = slopes.map(withRim);
  return weight[0].map((_, map) =>
    grid(side, side, (row, column) => {
      let total = 0;
      for (let number = 0; number < weight.length; number++) {
        for (let i = 0; i < 3; i++) {
          for (let j = 0; j < 3; j++) {
            total += weight[number][map][i][j] * padded[number][row + 2 - i][column + 2 - j];
          }
        }
      }
      return total;
    }),
  );
}

/** Each filter, 3 × 3 weights for each map, slides over the maps, and makes a new one of the same size. */
function convolve(maps, { weight, bias }) {
  const side = maps[0].length;
  const padded = maps.map(withRim);
  return weight.map((filter, number) =>
    grid(side, side, (row, column) => {
      let total = bias[number];
      for (let map = 0; map < maps.length; map++) {
        for (let i = 0; i < 3; i++) {
          for (let j = 0; j < 3; j++) {
            total += filter[map][i][j] * padded[map][row + i][column + j];
          }
        }
      }
      return total;
    }),
  );
}

/** Put a rim of zeros around a map, so that a filter has something to see at its edge. */
function withRim(map) {
  const row = Array(map.length + 2).fill(0);
  return [row, ...map.map((values) => [0, ...values, 0]), row];
}

/** Keep the largest of each 2 × 2 numbers. */
const pool = (maps) =>
  maps.map((map) =>
    grid(map.length / 2, map.length / 2, (row, column) => largestOfFour(map, row, column).largest),
  );

const relu = (maps) => maps.map((map) => map.map((row) => row.map((x) => Math.max(x, 0))));

/** Each output has a weight for each input, and a bias. */
const linear = (inputs, { weight, bias }) =>
  weight.map((weights, number) => bias[number] + sum(weights.map((w, i) => w * inputs[i])));

function softmax(logits) {
  const largest = Math.max(...logits);
  const exponentials = logits.map((logit) => Math.exp(logit - largest));
  return exponentials.map((value) => value / sum(exponentials));
}

/**
 * Return the weights of each layer, conv1.weight and so on, as arrays in arrays.
 *
 * The numbers are those of all layers, one after the other, and the shapes tell how many are whose:
 * an array of shape [16, 1, 3, 3] has 16 arrays of shape [1, 3, 3].
 */
export function unpackWeights(numbers, shapes) {
  let next = 0;
  function take([length, ...inner]) {
    if (length === undefined) return numbers[next++]; // of shape []
    return Array.from({ length }, () => take(inner));
  }
  const layers = {};
  for (const [name, shape] of Object.entries(shapes)) {
    const [layer, kind] = name.split(".");
    if (!(layer in layers)) layers[layer] = {};
    layers[layer][kind] = take(shape);
  }
  return layers;
}
