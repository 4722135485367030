// The convolutional network of notebook 08, in a browser: products and sums, the largest of some
// numbers, and at the end exponentials. An image and each feature map is an array of rows.

import { grid, sum } from "./digit.js";

/** Return the probabilities of the ten digits for an image, 28 × 28, 0 (paper) to 1 (ink). */
export function probabilitiesOf(image, { conv1, conv2, hidden, output }) {
  const first = relu(pool(convolve([image], conv1))); // 16 maps of 14 × 14
  const second = relu(pool(convolve(first, conv2))); // 32 maps of 7 × 7
  const numbers = linear(second.flat(2), hidden).map((x) => Math.max(x, 0)); // 1,568 become 64
  return softmax(linear(numbers, output));
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
    grid(map.length / 2, map.length / 2, (row, column) => {
      const [upper, lower] = [map[2 * row], map[2 * row + 1]];
      const [left, right] = [2 * column, 2 * column + 1];
      return Math.max(upper[left], upper[right], lower[left], lower[right]);
    }),
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
