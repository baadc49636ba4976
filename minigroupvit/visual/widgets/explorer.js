// The browser's part of GroupExplorer (sliders.py): point at a patch of any panel, and all panels show its group.
// H, W image  h, w patch grid

const SIDE = 250; // of the longer side of a panel, in pixels of the screen

function panel(parent, width, height) {
  const box = document.createElement("figure");
  const title = document.createElement("figcaption");
  const canvas = document.createElement("canvas");
  box.style.cssText = "margin: 0 10px 0 0; font: 13px sans-serif; text-align: center";
  canvas.style.cssText = "cursor: crosshair; border: 1px solid #555; touch-action: none";
  [canvas.width, canvas.height] = [width, height];
  box.append(title, canvas);
  parent.append(box);
  return { title, canvas, context: canvas.getContext("2d") };
}

function render({ model, el }) {
  const [H, W] = model.get("size");
  const stages = model.get("stages");
  const bytes = new Uint8Array(model.get("pixels").buffer ?? model.get("pixels"));
  const [h, w] = [stages[0].groups.length, stages[0].groups[0].length];
  const zoom = SIDE / Math.max(H, W);
  const [wide, high] = [Math.round(W * zoom), Math.round(H * zoom)];
  const row = document.createElement("div");
  row.style.cssText = "display: flex; flex-wrap: wrap";
  el.append(row);
  const panels = [null, ...stages].map((stage) => ({ stage, ...panel(row, wide, high) }));
  let at = [model.get("row"), model.get("column")];

  function paint({ stage, title, canvas, context }) {
    const group = stage?.groups[at[0]][at[1]];
    const image = new ImageData(W, H);
    for (let y = 0; y < H; y++) {
      for (let x = 0; x < W; x++) {
        const [from, to] = [3 * (y * W + x), 4 * (y * W + x)];
        const own = stage?.groups[Math.floor((y * h) / H)][Math.floor((x * w) / W)];
        const grey = 153 + (0.35 * (bytes[from] + bytes[from + 1] + bytes[from + 2])) / 3;
        for (let c = 0; c < 3; c++) image.data[to + c] = own === group ? bytes[from + c] : grey;
        image.data[to + 3] = 255;
      }
    }
    const small = new OffscreenCanvas(W, H);
    small.getContext("2d").putImageData(image, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, wide, high);
    title.textContent = stage ? stage.titles[group] : "image and patch";
    if (stage) {
      canvas.style.borderColor = `rgb(${stage.colours[group]})`;
      canvas.style.borderWidth = "3px";
      return;
    }
    const frame = [(at[1] * wide) / w, (at[0] * high) / h, wide / w, high / h];
    for (const [colour, line] of [["white", 4], ["#d00000", 2]]) {
      [context.strokeStyle, context.lineWidth] = [colour, line];
      context.strokeRect(...frame);
    }
  }

  function show(y, x) {
    at = [y, x];
    panels.forEach(paint);
  }

  function patch({ canvas }, event) {
    const box = canvas.getBoundingClientRect();
    const part = (value, length, count) => Math.min(count - 1, Math.max(0, Math.floor((value / length) * count)));
    return [part(event.clientY - box.top, box.height, h), part(event.clientX - box.left, box.width, w)];
  }

  for (const one of panels) {
    // Moving only shows; a click selects the patch: it moves the sliders and is sent to Python.
    one.canvas.addEventListener("pointermove", (event) => show(...patch(one, event)));
    one.canvas.addEventListener("pointerleave", () => show(model.get("row"), model.get("column")));
    one.canvas.addEventListener("click", (event) => {
      const [y, x] = patch(one, event);
      model.set("row", y);
      model.set("column", x);
      model.save_changes();
    });
  }
  model.on("change:row change:column", () => show(model.get("row"), model.get("column")));
  show(...at);
}

export default { render };
