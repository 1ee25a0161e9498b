// The mask painter. Strokes are kept as what was done, so that they can be undone; the mask is drawn from them, in the
// picture's own size, in pure black and white.

import { $, $$, complain } from "./common.js";
import { pictureOf, put } from "./images.js";

const dialog = $("#painter");
const canvas = $("#mask");
const brush = $("#brush");
const erase = $("#erase");

/** What is being painted: the field, the picture, the strokes, where the keyboard's brush is. */
let work;

/** Lets the mask fields in a part of the form be painted. */
export function paintMasks(root) {
  for (const button of $$("[data-paint]", root)) {
    button.hidden = false;
    button.addEventListener("click", () => open(button.closest(".field")));
  }
}

async function open(field) {
  const of = document.querySelector(`.field[data-name="${CSS.escape(field.dataset.of)}"]`);
  const note = $("[data-note]", field);
  const address = of && (await pictureOf(of));
  if (!address) {
    note.textContent = "First choose the picture that the mask is for";
    return;
  }
  const picture = new Image();
  picture.src = address;
  try {
    await picture.decode();
  } catch {
    note.textContent = "The picture that the mask is for cannot be shown";
    return;
  }
  work = { field, picture, strokes: [], at: { x: picture.naturalWidth / 2, y: picture.naturalHeight / 2 } };
  canvas.width = picture.naturalWidth;
  canvas.height = picture.naturalHeight;
  const longest = Math.max(canvas.width, canvas.height);
  brush.max = String(Math.ceil(longest / 2));
  brush.value = String(Math.ceil(longest / 10));
  $("#painter-help").textContent = `${$(".help", field)?.textContent ?? ""} Paint what it is about.`.trim();
  complain($("#painter-error"), "");
  draw();
  dialog.showModal();
  canvas.focus();
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
  pen.drawImage(work.picture, 0, 0);
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
