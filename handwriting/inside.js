// What the network of network.js computes of a drawing, to look at: each stage as pictures, and for a place
// of them, or for a digit, how its number comes about. All numbers shown are the network's own.

import { gradientOf, gradientOfUnits, largestOfFour } from "./network.js";
import { grid, sum } from "./digit.js";

const PURPLE = [84, 39, 136]; // above 0, as in notebook 08
const ORANGE = [179, 88, 6]; // below 0
const GAP = 1; // places between two maps
const UNIT = 3; // places: the side of the square that shows a hidden unit

/** Each stage that consists of maps: its name in what lookInside returns, and what it does. */
const STAGES = [
  {
    name: "edges",
    title: "1 · 16 filters",
    text: "A filter is 3 × 3 weights (the small pictures). It slides over the image: at each place, nine pixels are multiplied by its nine weights and added up. All these sums are its map (the large pictures). A map is purple where the image looks like its filter, such as at the upper edge of a stroke, and orange where it looks like the opposite. (Empty filters have learned nothing. A tint where there is no ink is the bias.)",
  },
  {
    name: "first",
    title: "2 · Smaller maps",
    text: "Of each 2 × 2 numbers only the largest stays (max pooling), and what is below 0 becomes 0 (ReLU). So it still matters what was found, and no longer exactly where.",
  },
  {
    name: "shapes",
    title: "3 · 32 filters",
    text: "Each of these filters looks at all 16 maps at once, with 3 × 3 weights for each map. So it can find what is made of several edges, such as a corner or a curve.",
  },
  {
    name: "second",
    title: "4 · Smaller maps again",
    text: "As before, the largest of each 2 × 2 numbers stays, and nothing below 0. These 32 maps of 7 × 7 are 1,568 numbers.",
  },
  {
    name: "units",
    title: "5 · 64 hidden units",
    text: "A hidden unit has a weight for each of the 1,568 numbers. It multiplies, adds up, and if the sum is below 0, it says nothing: 0. Each square is a unit, in rows, so the first row begins with unit 1. (Hidden: it stands between the image and the answer.)",
  },
];

/** Write a number with some decimals and a proper minus sign, but none before 0. */
function write(x, decimals = 2) {
  const text = x.toFixed(decimals);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
}

const largestIn = (maps) => maps.flat(2).reduce((largest, x) => Math.max(largest, Math.abs(x)), 1e-9);

/** Return the maps of a stage. Each hidden unit is a square of one number. */
const mapsOf = (inside, name) =>
  name === "units" ? inside.units.map((x) => grid(UNIT, UNIT, () => x)) : inside[name];

/** Make an element, with a class, and text or other elements in it. */
function make(tag, className, ...content) {
  const element = document.createElement(tag);
  element.className = className;
  element.append(...content);
  return element;
}

/** Call a function when a button is pressed, reached by the Tab key, or pointed at by a mouse. */
function onChoice(button, choose) {
  button.addEventListener("click", choose);
  button.addEventListener("focus", choose);
  button.addEventListener("pointerenter", (event) => {
    if (event.pointerType === "mouse") choose();
  });
}

/** Return purple above 0, orange below, the darker the further away; white is 0. */
function colorOf(value, limit, above = PURPLE) {
  const share = Math.min(Math.abs(value) / limit, 1);
  return (value > 0 ? above : ORANGE).map((part) => 255 + share * (part - 255));
}

/** Return the side of a map on its canvas, with the gap beside it. */
const stepOf = (maps) => maps[0].length + GAP;

/** Return where on its canvas a map begins: at which column, and at which row. */
const cornerOf = (number, columns, step) => ({
  left: GAP + step * (number % columns),
  top: GAP + step * Math.floor(number / columns),
});

/** Paint maps side by side, one pixel of the canvas for each number. */
function paintMaps(canvas, maps, columns, limit = largestIn(maps), above = PURPLE) {
  const step = stepOf(maps);
  canvas.width = columns * step + GAP;
  canvas.height = Math.ceil(maps.length / columns) * step + GAP;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  pixels.data.fill(128); // the gaps are grey, and half transparent
  maps.forEach((map, number) => {
    const { left, top } = cornerOf(number, columns, step);
    map.forEach((values, row) =>
      values.forEach((value, column) => {
        const start = 4 * ((top + row) * canvas.width + left + column);
        pixels.data.set([...colorOf(value, limit, above), 255], start);
      }),
    );
  });
  context.putImageData(pixels, 0, 0);
}

/** Lay a box over a canvas: its sides are given in places of the canvas. */
function layBox(box, canvas, left, top, size) {
  box.style.left = `${(100 * left) / canvas.width}%`;
  box.style.top = `${(100 * top) / canvas.height}%`;
  box.style.height = `${(100 * size) / canvas.height}%`;
  box.style.width = `${(100 * size) / canvas.width}%`;
}

/** Return a picture of maps with a caption. */
function picture(maps, caption, columns = 1) {
  const canvas = document.createElement("canvas");
  paintMaps(canvas, maps, columns);
  return make("figure", "picture", canvas, make("figcaption", "", caption));
}

/** Return numbers as a small table, each in its colour, with a caption. */
function numbers(rows, caption, limit) {
  const table = make("table", "numbers", make("caption", "", caption));
  for (const values of rows) {
    const row = make("tr", "");
    for (const value of values) {
      const cell = make("td", "", write(value));
      cell.style.background = `rgb(${colorOf(value, limit)})`;
      if (Math.abs(value) > 0.6 * limit) cell.style.color = "white";
      row.append(cell);
    }
    table.append(row);
  }
  return table;
}

/** Return the numbers of a map that a filter sees at a place: outside of it there are zeros. */
const patchOf = (map, row, column) =>
  [-1, 0, 1].map((i) => [-1, 0, 1].map((j) => map[row + i]?.[column + j] ?? 0));

const times = (some, others) =>
  some.map((values, row) => values.map((value, column) => value * others[row][column]));

/**
 * Return which pixels of the image a place depends on: the first row and column, and how many.
 *
 * A filter sees a place more on each side; of what was made smaller, one place was two.
 */
function pixelsSeen(name, row, column) {
  const level = STAGES.findIndex((stage) => stage.name === name);
  let [top, left, size] = [row, column, 1];
  for (let stage = level; stage >= 0; stage--) {
    if (stage % 2 === 1) [top, left, size] = [2 * top, 2 * left, 2 * size];
    else [top, left, size] = [top - 1, left - 1, size + 2];
  }
  return { top, left, size };
}

/**
 * Put the inside of a network into an element. Returns show(inside), which shows what lookInside has
 * found, or nothing if it is given nothing.
 */
export function createInside(element, layers) {
  const columnsOf = { edges: 8, first: 8, shapes: 8, second: 16, units: 16 };
  if (window.matchMedia("(max-width: 40rem)").matches) {
    Object.assign(columnsOf, { edges: 4, first: 4, shapes: 4, second: 8, units: 8 });
  }
  let inside = null;
  const chosen = {}; // of each stage the place {map, row, column} that is explained
  let chosenDigit = null; // or null: the one that is read

  element.textContent = ""; // a page that was saved has it already
  const hint = make("p", "", "Draw a digit: its way through the network is then shown here.");
  const legend = make("p", "legend", "A weight is a number that another number is multiplied by, and a bias is a number that is added at the end. The network has learned all of them from examples. In the pictures purple is above 0, orange is below, white is 0, and the darkest colour is the number furthest from 0 in that picture. Point at a place, tap it, or go to a picture by the Tab key and move in it by the arrow keys: then you see how its number comes about (rounded).");

  const spoken = make("p", "spoken");
  spoken.setAttribute("role", "status"); // a screen reader says what was chosen, not each redrawing

  /** Make the part of a section that explains what is chosen. Below, so that nothing moves away. */
  function makeWhy() {
    const said = make("p", "");
    const shown = make("div", "shown");
    const why = make("div", "why", said, shown);
    why.hidden = true;
    return { why, said, shown };
  }

  const stages = {};
  for (const { name, title, text } of STAGES) {
    const canvas = make("canvas", "maps");
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application"); // else a screen reader keeps the arrow keys
    const mark = make("div", "mark");
    const strongest = make("p", "strongest");
    const section = make("section", name, make("h3", "", title), make("p", "", text));
    if (name === "edges") {
      const filters = layers.conv1.weight.map(([filter]) => filter);
      const shown = make("canvas", "filters");
      shown.setAttribute("role", "img");
      shown.setAttribute("aria-label", "The 16 filters, 3 × 3 weights each");
      paintMaps(shown, filters, columnsOf.edges);
      section.append(shown);
    }
    section.append(strongest);
    const parts = makeWhy();
    section.append(make("div", "over", canvas, mark), parts.why);
    mark.hidden = true;
    stages[name] = { canvas, mark, strongest, section, ...parts };
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerType === "mouse") choosePlace(name, placeAt(name, event));
    });
    canvas.addEventListener("pointerdown", (event) => choosePlace(name, placeAt(name, event)));
    canvas.addEventListener("focus", () => {
      if (inside && !chosen[name]) choosePlace(name, strongestPlace(name));
    });
    canvas.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return; // the browser's own
      const [down, right] =
        { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [];
      if (!inside || down === undefined || !chosen[name]) return;
      event.preventDefault(); // the page stays where it is
      choosePlace(name, neighbour(name, down, right));
    });
  }
  const answers = make("tbody", "");
  const digitRows = Array.from({ length: 10 }, (_, digit) => {
    const button = make("button", "digit", String(digit));
    button.type = "button";
    button.setAttribute("aria-label", `${digit}: what speaks for it and against it`);
    onChoice(button, () => {
      if (!inside) return;
      chosenDigit = digit;
      explainDigit(digit);
      spoken.textContent = ofDigit.said.textContent;
    });
    const row = make("tr", "", make("th", "", button), make("td", ""), make("td", ""));
    answers.append(row);
    return row;
  });
  const heads = ["digit", "sum", "probability"].map((text) => make("th", "", text));
  const ofDigit = makeWhy();
  const answersSection = make(
    "section",
    "answers",
    make("h3", "", "6 · Ten sums, ten probabilities"),
    make("p", "", "Each digit has a weight for each of the 64 hidden units, adds up unit times weight, and the largest sum wins. Softmax makes probabilities of the sums: where a sum is larger by 1, the probability is 2.7 times as large. Point at a digit to see what speaks for it and against it, and at a unit to see it above."),
    make("table", "", make("thead", "", make("tr", "", ...heads)), answers),
    ofDigit.why,
  );
  const all = make("div", "stages", legend, ...STAGES.map(({ name }) => stages[name].section), answersSection);
  all.hidden = true;
  element.append(hint, spoken, all);

  /** Return the place of a stage under a pointer, or null between two maps. */
  function placeAt(name, event) {
    if (!inside) return null;
    const { canvas } = stages[name];
    const { left, top, width, height } = canvas.getBoundingClientRect();
    const x = Math.floor(((event.clientX - left) / width) * canvas.width) - GAP;
    const y = Math.floor(((event.clientY - top) / height) * canvas.height) - GAP;
    const maps = mapsOf(inside, name);
    const side = maps[0].length;
    const [mapRow, row] = [Math.floor(y / (side + GAP)), y % (side + GAP)];
    const [mapColumn, column] = [Math.floor(x / (side + GAP)), x % (side + GAP)];
    const map = mapRow * columnsOf[name] + mapColumn;
    const isPlace = x >= 0 && y >= 0 && row < side && column < side && map < maps.length;
    if (!isPlace) return null;
    return name === "units" ? { map, row: 0, column: 0 } : { map, row, column };
  }

  function strongestPlace(name) {
    let best = { map: 0, row: 0, column: 0, value: -Infinity };
    mapsOf(inside, name).forEach((values, map) =>
      values.forEach((numbersOfRow, row) =>
        numbersOfRow.forEach((value, column) => {
          if (value > best.value) best = { map, row, column, value };
        }),
      ),
    );
    return best;
  }

  /** Return the next place in a direction: behind the edge of a map comes the next map. */
  function neighbour(name, down, right) {
    const { map, row, column } = chosen[name];
    const maps = mapsOf(inside, name);
    const side = maps[0].length;
    const columns = columnsOf[name];
    const rows = maps.length / columns;
    const step = name === "units" ? UNIT : 1;
    const y = Math.floor(map / columns) * side + row + step * down;
    const x = (map % columns) * side + column + step * right;
    if (y < 0 || x < 0 || y >= rows * side || x >= columns * side) return { map, row, column };
    return {
      map: Math.floor(y / side) * columns + Math.floor(x / side),
      row: y % side,
      column: x % side,
    };
  }

  function choosePlace(name, place) {
    if (!inside || !place) return;
    const old = chosen[name];
    if (old && ["map", "row", "column"].every((key) => old[key] === place[key])) return;
    chosen[name] = place;
    explainPlace(name);
    spoken.textContent = stages[name].said.textContent;
  }

  /** Show how the number at the chosen place of a stage comes about. */
  function explainPlace(name) {
    const { canvas, mark, why, said, shown } = stages[name];
    const { map, row, column } = chosen[name];
    const { left, top } = cornerOf(map, columnsOf[name], stepOf(mapsOf(inside, name)));
    const size = name === "units" ? UNIT : 1;
    layBox(mark, canvas, left + column, top + row, size);
    mark.hidden = false;
    why.hidden = false;
    const { words, pictures } = EXPLAIN[name](map, row, column);
    said.textContent = words;
    shown.textContent = "";
    shown.append(...pictures);
  }

  /** Return the drawing, with a box around what a place depends on. */
  function drawingWithBox(name, row, column) {
    const { top, left, size } = pixelsSeen(name, row, column);
    const figure = drawing(`${size} × ${size} pixels of the image`);
    const box = make("div", "mark");
    layBox(box, figure.querySelector("canvas"), left + GAP, top + GAP, size);
    figure.querySelector(".over").append(box);
    return figure;
  }

  function drawing(caption) {
    const canvas = document.createElement("canvas");
    paintMaps(canvas, [inside.image], 1, 1, [0, 0, 0]); // as on paper: black on white
    return make("figure", "picture", make("div", "over", canvas), make("figcaption", "", caption));
  }

  function explainEdge(map, row, column) {
    const patch = patchOf(inside.image, row, column);
    const filter = layers.conv1.weight[map][0];
    const products = times(patch, filter);
    const bias = layers.conv1.bias[map];
    const words = `Map ${map + 1}, row ${row + 1}, column ${column + 1}: the nine products add up to ${write(sum(products.flat()))}, the bias of the filter is ${write(bias)}, together ${write(inside.edges[map][row][column])}.`;
    const limit = largestIn([filter, products]);
    const pictures = [
      drawingWithBox("edges", row, column),
      numbers(patch, "what it sees", 1),
      numbers(filter, `× filter ${map + 1}`, limit),
      numbers(products, "= products", limit),
    ];
    return { words, pictures };
  }

  function explainShape(map, row, column) {
    const patches = inside.first.map((one) => patchOf(one, row, column));
    const filter = layers.conv2.weight[map];
    const products = patches.map((patch, number) => times(patch, filter[number]));
    const ofMaps = products.map((one) => sum(one.flat()));
    const most = ofMaps.indexOf(Math.max(...ofMaps));
    const bias = layers.conv2.bias[map];
    const words = `Map ${map + 1}, row ${row + 1}, column ${column + 1}: the 144 products add up to ${write(sum(ofMaps))}, the largest part (${write(ofMaps[most])}) comes from map ${most + 1} of the 16; the bias is ${write(bias)}, together ${write(inside.shapes[map][row][column])}.`;
    const pictures = [
      drawingWithBox("shapes", row, column),
      picture(patches, "what it sees in the 16 maps", 4),
      picture(filter, `× filter ${map + 1}`, 4),
      picture(products, "= products", 4),
    ];
    return { words, pictures };
  }

  function explainPool(name, map, row, column) {
    const source = name === "first" ? inside.edges[map] : inside.shapes[map];
    const four = [0, 1].map((i) => [0, 1].map((j) => source[2 * row + i][2 * column + j]));
    const { largest } = largestOfFour(source, row, column);
    const ending = largest > 0 ? "it stays" : "it is not above 0, so it becomes 0";
    const words = `Map ${map + 1}, row ${row + 1}, column ${column + 1}: the largest of four is ${write(largest)}, and ${ending}.`;
    const table = numbers(four, "the four numbers", largestIn([four]));
    return { words, pictures: [drawingWithBox(name, row, column), table] };
  }

  function explainUnit(unit) {
    const side = inside.second[0].length;
    const weights = inside.second.map((_, map) =>
      Array.from({ length: side }, (_, row) =>
        layers.hidden.weight[unit].slice((map * side + row) * side, (map * side + row + 1) * side),
      ),
    );
    const products = inside.second.map((one, map) => times(one, weights[map]));
    const total = inside.unitSums[unit];
    const bias = layers.hidden.bias[unit];
    const ending = total > 0 ? "So it speaks." : "That is not above 0, so it says nothing.";
    const words = `Hidden unit ${unit + 1}: the 1,568 products add up to ${write(sum(products.flat(2)))}, its bias is ${write(bias)}, together ${write(total)}. ${ending}`;
    const ofUnit = inside.units.map((_, number) => (number === unit ? 1 : 0));
    const slopes = gradientOfUnits(ofUnit, inside, layers);
    const pictures = [
      drawing("The image."),
      picture([slopes], "What it looks for here: a little more ink where it is purple would raise its sum."),
      picture(inside.second, "the 32 maps", 8),
      picture(weights, `× weights of unit ${unit + 1}`, 8),
      picture(products, "= products", 8),
    ];
    return { words, pictures };
  }

  const EXPLAIN = {
    edges: explainEdge,
    first: (map, row, column) => explainPool("first", map, row, column),
    shapes: explainShape,
    second: (map, row, column) => explainPool("second", map, row, column),
    units: explainUnit,
  };

  /** Show what speaks for a digit and against it. */
  function explainDigit(digit) {
    const { why, said, shown } = ofDigit;
    const weights = layers.output.weight[digit];
    const products = weights.map((weight, unit) => weight * inside.units[unit]);
    const order = products.map((_, unit) => unit).sort((a, b) => products[b] - products[a]);
    const lines = (units) =>
      units.map((unit) =>
        make(
          "li",
          "",
          unitButton(unit),
          `: ${write(inside.units[unit])} × ${write(weights[unit], 3)} = ${write(products[unit])}`,
        ),
      );
    const speaking = order.filter((unit) => products[unit] > 0).slice(0, 4);
    const against = order.filter((unit) => products[unit] < 0).reverse().slice(0, 4);
    const bias = layers.output.bias[digit];
    said.textContent = `The ${digit}: unit times weight, of all 64 units, adds up to ${write(sum(products))}, the bias is ${write(bias)}, together ${write(inside.sums[digit])}: a probability of ${(100 * inside.probabilities[digit]).toFixed(1)}%.`;
    const slopes = gradientOf(digit, inside, layers);
    why.hidden = false;
    shown.textContent = "";
    shown.append(
      drawing("The image."),
      picture([slopes], `The gradient: a little more ink where it is purple would raise the sum of the ${digit}, and where it is orange lower it.`),
      make("div", "lists", make("p", "", `The four units that speak most for a ${digit}:`), make("ul", "", ...lines(speaking))),
      make("div", "lists", make("p", "", "The four that speak most against it:"), make("ul", "", ...lines(against))),
    );
  }

  /** Return a button that explains a hidden unit, in its own section. */
  function unitButton(unit) {
    const button = make("button", "unit", `unit ${unit + 1}`);
    button.type = "button";
    onChoice(button, () => {
      const { top } = button.getBoundingClientRect();
      choosePlace("units", { map: unit, row: 0, column: 0 });
      window.scrollBy(0, button.getBoundingClientRect().top - top); // it stays under the pointer
    });
    return button;
  }

  return function show(found) {
    inside = found;
    hint.hidden = Boolean(found);
    all.hidden = !found;
    if (!found) {
      chosenDigit = null; // of the next drawing it is the one that is read
      spoken.textContent = "";
      return;
    }
    for (const { name, title } of STAGES) {
      const { canvas, strongest } = stages[name];
      const maps = mapsOf(inside, name);
      paintMaps(canvas, maps, columnsOf[name]);
      const { map, value } = strongestPlace(name);
      const what = name === "units" ? "unit" : "map";
      const words = `The largest number now: ${write(value)}, in ${what} ${map + 1} of these ${maps.length}.`;
      strongest.textContent = words;
      canvas.setAttribute("aria-label", `${title}. ${words}`);
    }
    const digit = inside.probabilities.indexOf(Math.max(...inside.probabilities));
    digitRows.forEach((row, number) => {
      const [, sumCell, share] = row.children;
      sumCell.textContent = write(inside.sums[number]);
      share.textContent = `${(100 * inside.probabilities[number]).toFixed(1)}%`;
      row.className = number === digit ? "read" : "";
    });
    for (const name of Object.keys(chosen)) explainPlace(name);
    explainDigit(chosenDigit ?? digit);
  };
}
