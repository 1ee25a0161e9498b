// The mask painter. Strokes are kept as what was done, so that they can be undone; the mask is drawn from them, in the
// size of what it is of, in pure black and white. That is a picture in the form, or the result, which nobody has seen yet.

import { $, $$, complain } from "./common.js";
import { control } from "./form.js";
import { pictureOf, put } from "./images.js";

const dialog = $("#painter");
const canvas = $("#mask");
const brush = $("#brush");
const erase = $("#erase");

/** What is being painted: the field, the picture if there is one, the strokes, where the keyboard's brush is. */
let work;

/** A canvas that every browser has. */
const SIDE_MAX = 4096;

/** Lets the mask fields in a part of the form be painted. */
export function paintMasks(root) {
  for (const button of $$("[data-paint]", root)) {
    button.hidden = false;
    button.addEventListener("click", () => open(button.closest(".field")));
  }
}

const named = (name) => $(`.field[data-name="${CSS.escape(name)}"]`);

async function open(field) {
  const { of } = field.dataset;
  const note = $("[data-note]", field);
  const picture = of && (await look(named(of)));
  if (of && !picture) {
    const chosen = control(named(of)).value;
    note.textContent = chosen
      ? "The picture that the mask is for cannot be shown"
      : "First choose the picture that the mask is for";
    return;
  }
  const { width, height } = picture ? sizeOf(picture) : await resultSize(field.closest("form"));
  work = { field, picture, strokes: [], at: { x: width / 2, y: height / 2 } };
  canvas.width = width;
  canvas.height = height;
  const longest = Math.max(canvas.width, canvas.height);
  brush.max = String(Math.ceil(longest / 2));
  brush.value = String(Math.ceil(longest / 10));
  const about = $("#painter-about");
  about.hidden = false;
  about.textContent = picture
    ? "Paint over the part that is to be drawn anew. What you leave stays as it is."
    : `The mask is of the result, which is not there yet: the empty canvas has its size, ${width} × ${height}. Paint the part that it marks.`;
  $("#painter-help").textContent = $(".help", field)?.textContent ?? "";
  complain($("#painter-error"), "");
  draw();
  dialog.showModal();
  canvas.focus();
}

/** The picture that a field has, as far as it can be shown. */
async function look(field) {
  const address = field && (await pictureOf(field));
  if (!address) return undefined;
  const picture = new Image();
  picture.src = address;
  return picture.decode().then(
    () => picture,
    () => undefined,
  );
}

const sizeOf = ({ naturalWidth, naturalHeight }) => ({ width: naturalWidth, height: naturalHeight });

/** How large the result will be: as the form says, or as the picture that it follows, or as usual. */
async function resultSize(form) {
  const { like, ...usual } = form.dataset;
  const chosen = $('.field[data-kind="size"] select', form);
  const option = chosen?.selectedOptions[0]?.dataset;
  const side = (name) => Number($(`.field[data-kind="size"] [data-side="${name}"]`, form)?.value);
  const followed = like && !chosen?.value ? await look(used(named(like))) : undefined;
  const sizes = [
    chosen?.value === "custom" && { width: side("width"), height: side("height") },
    option,
    followed && sizeOf(followed),
    usual,
  ];
  const pixels = ({ width, height }) => ({ width: Math.round(width), height: Math.round(height) });
  const fits = ({ width, height }) => width >= 1 && height >= 1 && width <= SIDE_MAX && height <= SIDE_MAX;
  return sizes.filter(Boolean).map(pixels).find(fits);
}

/** A field, unless the group around it is not in use. */
function used(field) {
  const use = field?.closest(".group")?.querySelector(":scope > .use input");
  return use && !use.checked ? undefined : field;
}

/** The strokes on a canvas of their own: opaque where painted. */
function painted() {
  const layer = new OffscreenCanvas(canvas.width, canvas.height);
  const pen = layer.getContext("2d");
  pen.lineCap = pen.lineJoin = "round";
  for (const { kind, width, points } of work.strokes) {
    if (kind === "wipe") pen.clearRect(0, 0, layer.width, layer.height);
    else if (kind === "invert") {
      pen.globalCompositeOperation = "xor";
      pen.fillRect(0, 0, layer.width, layer.height);
    } else {
      pen.globalCompositeOperation = kind === "erase" ? "destination-out" : "source-over";
      pen.lineWidth = width;
      pen.beginPath();
      points.forEach(({ x, y }) => pen.lineTo(x, y));
      // a dot is a line of no length
      if (points.length === 1) pen.lineTo(points[0].x, points[0].y + 0.01);
      pen.stroke();
    }
    pen.globalCompositeOperation = "source-over";
  }
  return layer;
}

function draw() {
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, canvas.width, canvas.height);
  if (work.picture) pen.drawImage(work.picture, 0, 0);
  const tint = painted();
  const over = tint.getContext("2d");
  over.globalCompositeOperation = "source-in";
  over.fillStyle = "#e0401c";
  over.fillRect(0, 0, tint.width, tint.height);
  pen.globalAlpha = 0.6;
  pen.drawImage(tint, 0, 0);
  pen.globalAlpha = 1;
  if (work.keyboard) {
    pen.lineWidth = Math.max(2, canvas.width / 200);
    pen.strokeStyle = "#ffffff";
    pen.beginPath();
    pen.arc(work.at.x, work.at.y, Number(brush.value) / 2, 0, 7);
    pen.stroke();
  }
}

/** The mask as a file: what was painted in one colour, the rest in the other, nothing in between. */
async function file() {
  const layer = painted();
  const pen = layer.getContext("2d");
  const pixels = pen.getImageData(0, 0, layer.width, layer.height);
  const ink = work.field.dataset.ink === "black" ? 0 : 255;
  for (let at = 0; at < pixels.data.length; at += 4) {
    pixels.data.fill(pixels.data[at + 3] >= 128 ? ink : 255 - ink, at, at + 3);
    pixels.data[at + 3] = 255;
  }
  pen.putImageData(pixels, 0, 0);
  return layer.convertToBlob({ type: "image/png" });
}

/** Where a pointer is, in the picture's pixels. */
function place(event) {
  const box = canvas.getBoundingClientRect();
  return {
    x: ((event.clientX - box.left) / box.width) * canvas.width,
    y: ((event.clientY - box.top) / box.height) * canvas.height,
  };
}

const stroke = (...points) => ({ kind: erase.checked ? "erase" : "paint", width: Number(brush.value), points });

canvas?.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  work.keyboard = false;
  work.strokes.push(stroke(place(event)));
  work.drawing = true;
  draw();
});
canvas?.addEventListener("pointermove", (event) => {
  if (!work?.drawing) return;
  work.strokes.at(-1).points.push(...event.getCoalescedEvents().concat(event).map(place));
  draw();
});
for (const end of ["pointerup", "pointercancel"]) canvas?.addEventListener(end, () => (work.drawing = false));
canvas?.addEventListener("keydown", (event) => {
  const step = Math.max(1, Number(brush.value) / 3);
  const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
  if (event.key === " ") work.strokes.push(stroke({ ...work.at }));
  else if (!x && !y) return;
  event.preventDefault();
  work.keyboard = true;
  work.at.x = Math.min(canvas.width, Math.max(0, work.at.x + x * step));
  work.at.y = Math.min(canvas.height, Math.max(0, work.at.y + y * step));
  draw();
});

const act = (id, what) =>
  $(id)?.addEventListener("click", () => {
    what();
    draw();
  });
act("#undo", () => work.strokes.pop());
act("#invert", () => work.strokes.push({ kind: "invert" }));
act("#wipe", () => work.strokes.push({ kind: "wipe" }));
brush?.addEventListener("input", () => draw());
$("#close-painter")?.addEventListener("click", () => dialog.close());
$("#use-mask")?.addEventListener("click", async () => {
  try {
    await put(work.field, await file(), "mask.png");
    dialog.close();
  } catch (error) {
    complain($("#painter-error"), `The mask was not uploaded: ${error.message}`);
  }
});
