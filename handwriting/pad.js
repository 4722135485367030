// A square to draw a digit on, in a notebook and in pad.html, with a mouse, a pen or a finger. In a
// notebook it is a widget, whose strokes Python has too (pad.py).

export const SIDE = 280; // CSS pixels of the pad
export const PEN = 18; // CSS pixels: as thick on the pad as MNIST's strokes are in their image

/** Draw strokes, each a list of points [x, y], on white paper, whatever the theme of the page. */
export function drawStrokes(context, strokes) {
  context.fillStyle = "white";
  context.fillRect(0, 0, SIDE, SIDE);
  context.fillStyle = "black";
  context.strokeStyle = "black";
  context.lineWidth = PEN;
  context.lineCap = "round";
  context.lineJoin = "round";
  for (const points of strokes) {
    context.beginPath();
    context.arc(...points[0], PEN / 2, 0, 2 * Math.PI); // a dot, if the pen doesn't move
    context.fill();
    context.beginPath();
    for (const point of points) context.lineTo(...point);
    context.stroke();
  }
}

/**
 * Put a pad into an element, with a button that clears it.
 *
 * It calls onDraw(strokes) after each change, also while one draws, and onStroke(stroke), onUndo() and
 * onClear() when a stroke is finished, when the last one is taken back, and when all are cleared.
 * Returns show(strokes): these have been received, so they are shown in place of those that were sent.
 */
export function createPad(element, { onDraw, onStroke, onUndo, onClear }) {
  const canvas = document.createElement("canvas");
  canvas.style.cssText = `width: ${SIDE}px; height: ${SIDE}px; outline: 1px solid grey;
    display: block; margin: 1px; cursor: crosshair; -webkit-touch-callout: none;
    user-select: none; -webkit-user-select: none;
    touch-action: none`; // else a finger would scroll the page
  canvas.setAttribute("role", "img");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Clear";
  button.style.cssText = "margin-top: 6px; padding: 4px 12px; font: inherit";
  element.textContent = ""; // a page that was saved with its pad has one already
  element.append(canvas, button);

  let confirmed = []; // strokes that were given to show
  let sent = []; // strokes that were drawn here, and that show has not given back yet
  let stroke = null; // the one that is being drawn
  let pointer = null; // the mouse, pen or finger that draws it, as it came down
  let mayBePalm = false; // the last stroke was a finger's, and the system has taken the finger away

  function paint() {
    const strokes = [...confirmed, ...sent];
    if (stroke) strokes.push(stroke);
    canvas.width = Math.round(SIDE * window.devicePixelRatio);
    canvas.height = canvas.width;
    const context = canvas.getContext("2d");
    context.scale(canvas.width / SIDE, canvas.width / SIDE);
    drawStrokes(context, strokes);
    const count = strokes.length || "no";
    const noun = strokes.length === 1 ? "stroke" : "strokes";
    canvas.setAttribute("aria-label", `Pad to draw a digit on: ${count} ${noun}`);
    onDraw?.(strokes);
  }

  function placeOf(event) {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    return [((event.clientX - left) / width) * SIDE, ((event.clientY - top) / height) * SIDE];
  }

  function finish() {
    const finished = stroke;
    sent.push(finished);
    stroke = null;
    pointer = null;
    paint();
    onStroke?.(finished);
  }

  function undo() {
    if (sent.length > 0) sent.pop();
    else confirmed = confirmed.slice(0, -1);
    onUndo?.();
  }

  const isPenAfterPalm = (event) => event.pointerType === "pen" && pointer?.pointerType === "touch";

  /** Tell whether what comes down may draw: one pointer does at a time. */
  function mayDraw(event) {
    if (event.button !== 0) return false; // such as the right button of a mouse
    if (pointer === null) return true;
    if (event.pointerType !== pointer.pointerType) return isPenAfterPalm(event);
    return event.isPrimary; // it is the only one: that the other was lifted, was not reported
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (!mayDraw(event)) return;
    event.preventDefault(); // no text is selected, and no cell
    if (pointer && !isPenAfterPalm(event)) finish();
    if (mayBePalm && event.pointerType === "pen") undo();
    mayBePalm = false;
    pointer = event;
    stroke = [placeOf(event)];
    paint();
    canvas.setPointerCapture(event.pointerId); // its events come here, wherever it goes
  });

  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pointer?.pointerId) return;
    const isLeftButtonUp = (event.buttons & 1) === 0;
    if (event.pointerType === "mouse" && isLeftButtonUp) {
      finish(); // it was released over a menu, say
      return;
    }
    // All places since the last frame. Without https some browsers have no such list.
    const moves = event.getCoalescedEvents?.() ?? [];
    if (moves.length === 0) moves.push(event);
    for (const move of moves) stroke.push(placeOf(move));
    paint();
  });

  canvas.addEventListener("pointerup", (event) => {
    if (event.pointerId === pointer?.pointerId) finish();
  });

  canvas.addEventListener("pointercancel", (event) => {
    if (event.pointerId !== pointer?.pointerId) return;
    mayBePalm = event.pointerType === "touch";
    finish();
  });

  // On an iPad, Scribble would take quick strokes of the pencil for writing.
  canvas.addEventListener("touchmove", (event) => event.preventDefault(), { passive: false });

  button.addEventListener("click", () => {
    confirmed = [];
    sent = [];
    stroke = null;
    pointer = null;
    paint();
    onClear?.();
  });

  function show(strokes) {
    const isConfirmed = (one) => strokes.some((other) => String(one) === String(other));
    confirmed = strokes;
    sent = sent.filter((one) => !isConfirmed(one));
    paint();
  }
  paint();
  return show;
}

// In a notebook ------------------------------------------------------------------------------------

/** What a notebook calls for each output that shows the pad, with the model that all share. */
function render({ model, el }) {
  const note = document.createElement("p");
  note.setAttribute("role", "status");

  function tell(message) {
    try {
      model.send(message);
    } catch {
      note.textContent = "Python has ended: run all cells again.";
    }
  }

  // Only Python changes the strokes, so that all outputs hold the same, whoever comes first.
  const show = createPad(el, {
    onStroke: (stroke) => tell({ event: "stroke", stroke }),
    onUndo: () => tell({ event: "undo" }),
    onClear: () => tell({ event: "clear" }),
  });
  el.append(note);
  // JupyterLab leaves the keys to the button. Else some would act on the cell, such as A and B.
  el.querySelector("button").dataset.lmSuppressShortcuts = "true";
  const update = () => show(model.get("strokes"));
  update();
  model.on("change:strokes", update);
  return () => model.off("change:strokes", update);
}

export default { render };
