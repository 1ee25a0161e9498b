// The form as an input, and the server's words beside the controls they are about. Fields say by `data-kind` what they
// hold and by `data-default` what stands there when they are not sent.

import { $, $$, complain } from "./common.js";
import { toJson } from "./literal.js";

const own = (field) => field.dataset.name.split(".").at(-1);
const fieldsOf = (form) => $$(":scope > .field", form);
const inside = (object) => $$(":scope > .inside > .field", object);
const items = (list) => $$(":scope > [data-items] > .field", list);

/** The control that holds a field's value. */
export const control = (field) => $(`[name="${CSS.escape(field.dataset.name)}"]`, field);

/** The input that the form holds: what is as it would be anyway is left out. */
export const readForm = (form) => readFields(fieldsOf(form));

function readFields(fields) {
  const input = {};
  for (const field of fields) {
    const value = read(field);
    if (value !== undefined && !isDefault(field, value)) input[own(field)] = value;
  }
  return input;
}

function isDefault(field, value) {
  const usual = field.dataset.default;
  return usual !== undefined && toJson(JSON.parse(usual)) === toJson(value);
}

function read(field) {
  const kind = field.dataset.kind;
  if (kind === "list") {
    const values = items(field).map(read).filter((value) => value !== undefined);
    return values.length ? values : undefined;
  }
  const held = control(field);
  if (kind === "object") {
    const used = "required" in field.dataset || held.checked;
    return used ? readFields(inside(field)) : undefined;
  }
  if (kind === "boolean") return held.checked;
  if (kind === "size" && held.value === "custom") {
    const side = (name) => number($(`[data-side="${name}"]`, field).value);
    const sides = { width: side("width"), height: side("height") };
    return Object.fromEntries(Object.entries(sides).filter(([, value]) => value !== undefined));
  }
  if (kind === "integer" || kind === "number" || kind === "seed") return number(held.value);
  if (kind === "color") return color(held.value);
  if (held.value !== "") return held.value;
  // an empty text says something only where it takes a default's place
  return kind === "text" && (field.dataset.default ?? '""') !== '""' ? "" : undefined;
}

/** Numbers of any size; what is none goes as it is, for the server to say so. */
function number(text) {
  const trimmed = text.trim();
  if (trimmed === "") return undefined;
  if (/^-?\d+$/.test(trimmed)) return Number.isSafeInteger(Number(trimmed)) ? Number(trimmed) : BigInt(trimmed);
  return Number.isFinite(Number(trimmed)) ? Number(trimmed) : trimmed;
}

function color(text) {
  const channel = (at) => Number.parseInt(text.slice(at, at + 2), 16);
  return { r: channel(1), g: channel(3), b: channel(5) };
}

/** Takes back what was said before. */
export function clearProblems(form) {
  for (const place of $$(".field > .error", form)) complain(place, "");
  for (const held of $$("[aria-invalid]", form)) held.removeAttribute("aria-invalid");
}

/** Shows each problem at its field and returns those that have none. The first field is scrolled to. */
export function showProblems(form, problems) {
  let first;
  const homeless = [];
  for (const { loc, msg } of problems) {
    const field = find(fieldsOf(form), loc.slice(1));
    if (!field) {
      homeless.push(msg);
      continue;
    }
    const place = $(":scope > .error", field);
    complain(place, place.textContent ? `${place.textContent}. ${msg}` : msg);
    const held = control(field) ?? $("input, select, textarea", field);
    if (held && held.tagName !== "FIELDSET") held.setAttribute("aria-invalid", "true");
    first ??= held ?? field;
  }
  first?.focus();
  first?.closest(".field")?.scrollIntoView({ block: "center", behavior: "smooth" });
  return homeless;
}

/** The innermost field on the way to this place. Entries of lists are counted, not named. */
function find(fields, path, around) {
  if (!path.length) return around;
  const [step, ...rest] = path;
  const next = typeof step === "number" ? fields[step] : fields.find((field) => own(field) === step);
  if (!next) return around;
  const within = { list: items, object: inside }[next.dataset.kind];
  return within ? find(within(next), rest, next) : next;
}

/** Sliders and numbers move together; dice forget the seed. */
export function connectControls(root) {
  for (const slider of $$("[data-slider]", root)) {
    const held = control(slider.closest(".field"));
    slider.addEventListener("input", () => (held.value = slider.value));
    held.addEventListener("input", () => held.value !== "" && (slider.value = held.value));
  }
  for (const dice of $$("[data-dice]", root)) {
    const held = control(dice.closest(".field"));
    dice.hidden = false;
    dice.addEventListener("click", () => {
      held.value = String(crypto.getRandomValues(new Uint32Array(1))[0]);
      held.dispatchEvent(new Event("input", { bubbles: true }));
    });
  }
}
