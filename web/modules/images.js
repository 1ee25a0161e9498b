// Pictures that go in: chosen, dropped, pasted or named by URL. Files are uploaded here and stand in the form as their
// URL. Other hosts are never asked by the browser: this server fetches what is shown of them.

import { $, $$, base } from "./common.js";
import { control } from "./form.js";

/** What a field shows now, as something an <img> may load: by its input. */
const shown = new WeakMap();

/** Lets a part of the form take pictures. */
export function takePictures(root) {
  for (const drop of $$("[data-drop]", root)) connect(drop);
}

/** The address under which this page may show a field's picture; undefined where there is none. */
export async function pictureOf(field) {
  const held = control(field);
  if (held.value && shown.get(held)?.of !== held.value) await look(field);
  return held.value ? shown.get(held)?.address : undefined;
}

/** Puts a picture that this page made into a field. */
export async function put(field, blob, name) {
  const held = control(field);
  note(field, "Uploading…");
  const answer = await fetch(`${base}/cdn/files/upload`, {
    method: "POST",
    headers: { "content-type": blob.type || "application/octet-stream", "x-fal-file-name": encodeURIComponent(name) },
    body: blob,
  });
  if (!answer.ok) throw new Error(await reason(answer));
  const { access_url: url } = await answer.json();
  held.value = url;
  remember(field, url, URL.createObjectURL(blob));
  note(field, `${name} is uploaded`);
  held.dispatchEvent(new Event("input", { bubbles: true }));
}

/** Names a picture of this server in a field. */
export function name(field, url, address) {
  const held = control(field);
  held.value = url;
  remember(field, url, address);
  held.dispatchEvent(new Event("input", { bubbles: true }));
}

/** What a refused answer says. */
export async function reason(answer) {
  const said = await answer.json().catch(() => ({}));
  const { detail } = said;
  if (typeof detail === "string") return detail;
  if (Array.isArray(detail)) return detail.map(({ msg }) => msg).join(". ");
  return `The server answered ${answer.status}`;
}

function connect(drop) {
  const field = drop.closest(".field");
  const held = control(field);
  const file = $("[data-file]", drop);
  const clear = $("[data-clear]", drop);
  file.closest("label").hidden = false;
  clear.hidden = false;
  const take = async (given) => {
    if (!given) return;
    if (!given.type.startsWith("image/")) return note(field, `${given.name} is not a picture`);
    try {
      await put(field, given, given.name || "picture.png");
    } catch (error) {
      note(field, `It was not uploaded: ${error.message}`);
    }
  };
  file.addEventListener("change", () => take(file.files[0]).then(() => (file.value = "")));
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take([...event.dataTransfer.files][0]);
  });
  drop.addEventListener("paste", (event) => {
    const pasted = [...event.clipboardData.files].find(({ type }) => type.startsWith("image/"));
    if (!pasted) return;
    event.preventDefault();
    take(pasted);
  });
  held.addEventListener("change", () => look(field));
  clear.addEventListener("click", () => {
    held.value = "";
    remember(field, "", undefined);
    note(field, "");
    held.dispatchEvent(new Event("input", { bubbles: true }));
  });
  if (held.value && !held.value.startsWith("data:image/")) look(field);
}

/** Finds out how to show what the field names. */
async function look(field) {
  const url = control(field).value.trim();
  if (url === "") return remember(field, url, undefined);
  if (url.startsWith("data:image/") || url.startsWith(`${location.origin}/`)) return remember(field, url, url);
  if (!/^https?:/.test(url)) {
    remember(field, url, undefined);
    return note(field, "Expected a URL that begins with http:// or https://, or a data URI");
  }
  note(field, "Looking at it…");
  const answer = await fetch(`${base}/thumbnail`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ url }),
  });
  if (control(field).value.trim() !== url) return;
  if (answer.ok) {
    remember(field, url, URL.createObjectURL(await answer.blob()));
    note(field, "");
  } else {
    remember(field, url, undefined);
    note(field, await reason(answer));
  }
}

function remember(field, of, address) {
  const held = control(field);
  const before = shown.get(held)?.address;
  if (before?.startsWith("blob:") && before !== address) URL.revokeObjectURL(before);
  shown.set(held, { of, address });
  const thumb = $("[data-thumb]", field);
  if (!thumb) return;
  thumb.replaceChildren();
  if (!address) return;
  const image = new Image();
  image.alt = "";
  image.src = address;
  thumb.append(image);
}

function note(field, text) {
  const place = $("[data-note]", field);
  if (place) place.textContent = text;
}
