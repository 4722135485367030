// A square to draw a digit on, with a mouse, a pen or a finger. In a notebook it is a widget, whose
// strokes Python has too (pad.py). pad.html holds it by itself.

export const SIDE = 280; // CSS pixels of the pad
export const PEN = 18; // CSS pixels: as thick on the pad as MNIST's strokes are in their image

/** Draw strokes, each a list of points [x, y], on white paper, whatever the theme of the page. */
export function drawStrokes(context, strokes) {
  context.fillStyle = "white";
  context.fillRect(0, 0, SIDE, SIDE);
  context.fillStyle = context.strokeStyle = "black";
  context.lineWidth = PEN;
  context.lineCap = context.lineJoin = "round";
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
 * Put a pad into an element, and a button that clears it.
 *
 * onLift(strokes) is called when a stroke is finished and when the pad is cleared, and onDraw(strokes)
 * also while one is drawn. Returns show(strokes), which replaces what is there.
 */
export function createPad(element, { onLift = () => {}, onDraw = () => {} }) {
  const canvas = document.createElement("canvas");
  canvas.style.cssText = `width: ${SIDE}px; height: ${SIDE}px; outline: 1px solid grey;
    display: block; margin: 1px; cursor: crosshair; user-select: none; -webkit-user-select: none;
    touch-action: none`; // else a finger would scroll the page
  canvas.setAttribute("role", "img");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Clear";
  button.style.cssText = "margin-top: 6px; padding: 4px 12px; font: inherit";
  element.append(canvas, button);

  let finished = []; // strokes
  let stroke = null; // the one that is being drawn
  let pointer = null; // the mouse, pen or finger that draws it, as it came down
  let cancelled = null; // the last stroke of a finger that the system has taken away

  function paint() {
    const strokes = stroke ? [...finished, stroke] : finished;
    canvas.width = canvas.height = Math.round(SIDE * window.devicePixelRatio);
    const context = canvas.getContext("2d");
    context.scale(canvas.width / SIDE, canvas.width / SIDE);
    drawStrokes(context, strokes);
    const content = strokes.length === 1 ? "1 stroke" : `${strokes.length || "no"} strokes`;
    canvas.setAttribute("aria-label", `Pad to draw a digit on: ${content}`);
    return strokes;
  }

  function placeOf(event) {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    return [((event.clientX - left) / width) * SIDE, ((event.clientY - top) / height) * SIDE];
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const isPen = event.pointerType === "pen";
    const isTaken = pointer && pointer.pointerId !== event.pointerId;
    const byPalm = isTaken && isPen && pointer.pointerType === "touch";
    if (isTaken && !byPalm) return; // one pointer draws at a time
    event.preventDefault(); // no text is selected, and no cell
    if (isPen) finished = finished.filter((one) => one !== cancelled); // that was the palm, too
    pointer = event;
    stroke = [placeOf(event)];
    onDraw(paint());
    canvas.setPointerCapture(event.pointerId); // its events come here, wherever it goes
  });

  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pointer?.pointerId) return;
    const sinceLastFrame = event.getCoalescedEvents();
    for (const one of sinceLastFrame.length ? sinceLastFrame : [event]) stroke.push(placeOf(one));
    onDraw(paint());
  });

  function lift(event) {
    if (event.pointerId !== pointer?.pointerId) return;
    if (event.type === "pointercancel" && event.pointerType === "touch") cancelled = stroke;
    finished = [...finished, stroke];
    stroke = pointer = null;
    onLift(paint());
  }
  canvas.addEventListener("pointerup", lift);
  canvas.addEventListener("pointercancel", lift);

  button.addEventListener("click", () => {
    finished = [];
    stroke = pointer = null;
    onLift(paint());
  });

  function show(strokes) {
    finished = strokes;
    paint();
  }
  show([]);
  return show;
}

/** What a notebook calls for each output that shows the pad, with the model that all share. */
function render({ model, el }) {
  const show = createPad(el, {
    onLift(strokes) {
      model.set("strokes", strokes);
      model.save_changes(); // to Python
    },
  });
  // JupyterLab leaves the keys to the button. Else some would act on the cell, such as A and B.
  el.querySelector("button").dataset.lmSuppressShortcuts = "true";
  const update = () => show(model.get("strokes"));
  update();
  model.on("change:strokes", update); // by Python, or in another output
  return () => model.off("change:strokes", update);
}

export default { render };
