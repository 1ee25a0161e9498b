// The playground: puts the form, the request and its result together.

import { $, $$, base, complain, element } from "./common.js";
import { clearProblems, connectControls, control, readForm, showProblems } from "./form.js";
import { name, takePictures } from "./images.js";
import { growLists } from "./lists.js";
import { paintMasks } from "./mask.js";
import { cancel, failure, follow, numbers, pictures, progressView, say, send } from "./run.js";
import { updateSnippets } from "./snippets.js";

const form = $("#form");
const { endpoint } = form.dataset;
const generate = $("#generate");
const wrong = $("#form-error");
const view = progressView();

/** The request that is being made. */
let current;

function connect(root) {
  connectControls(root);
  takePictures(root);
  paintMasks(root);
}

async function run() {
  if (current) return;
  const input = readForm(form);
  clearProblems(form);
  complain(wrong, "");
  begin();
  try {
    current = { id: await send(endpoint, input) };
    if (current.cancelled) await cancel(current.id);
    const end = await follow(`${base}/history/${current.id}/events`, view);
    finish(end, input);
  } catch (error) {
    stop("The picture will be here.");
    const homeless = error.problems ? showProblems(form, error.problems) : [error.message];
    complain(wrong, homeless.join(". "));
  }
}

function begin() {
  current = {};
  generate.setAttribute("aria-disabled", "true");
  view.bar.removeAttribute("value");
  view.steps.textContent = "";
  say(view, "Sending");
  $("#progress").hidden = false;
  $("#after").hidden = true;
  // narrow screens have the result below the form
  if ($("#result").getBoundingClientRect().top > innerHeight * 0.7) $("#result").scrollIntoView({ behavior: "smooth" });
}

/** Ends the run; what failed looks like it. */
function stop(words, failed = false) {
  current = undefined;
  generate.removeAttribute("aria-disabled");
  $("#progress").hidden = true;
  view.preview.hidden = true;
  view.empty.hidden = !words;
  view.empty.className = failed ? "error" : "empty";
  view.empty.textContent = words;
}

function finish(end, input) {
  const { id } = current;
  const { output } = end;
  const link = element("a", { class: "button quiet", href: `${base}/history/${id}` }, "This request");
  $("#acts").replaceChildren(link);
  $("#numbers").replaceChildren();
  $("#after").hidden = false;
  if (!output.ok) {
    const words = failure(end);
    stop(words, end.state !== "cancelled");
    $("#pictures").hidden = true;
    const problems = Array.isArray(output.detail) ? output.detail : [];
    const homeless = showProblems(form, problems);
    if (end.state !== "cancelled") complain(wrong, problems.length ? homeless.join(". ") : words);
    return;
  }
  stop("");
  $("#pictures").replaceChildren(...pictures(output, input.prompt ?? endpoint, (picture) => reuse(picture)));
  $("#pictures").hidden = false;
  $("#numbers").replaceChildren(...numbers(output));
  if (output.stand_in) $("#acts").prepend(element("span", { class: "fact" }, "A drawn card: no model ran."));
  if (output.seed && form.elements.seed) {
    const keep = element("button", { type: "button", class: "quiet" }, "Keep this seed");
    keep.addEventListener("click", () => {
      form.elements.seed.value = output.seed;
      form.elements.seed.dispatchEvent(new Event("input", { bubbles: true }));
    });
    $("#acts").append(keep);
  }
}

/** Where a picture may go in: this form's first picture field, or another model. */
function reuse(picture) {
  const field = $('.field[data-kind="image"]', form);
  if (field) {
    const button = element("button", { type: "button", class: "quiet" }, "Use as input");
    button.addEventListener("click", () => {
      const url = picture.url.startsWith("data:") ? picture.url : new URL(picture.url, location.href).href;
      name(field, url, picture.url);
      control(field).focus();
    });
    return [button];
  }
  if (picture.url.startsWith("data:")) return [];
  const path = encodeURIComponent(picture.url.slice(base.length));
  return [element("a", { class: "button quiet", href: `${base}/?q=image-to-image&image=${path}` }, "Use as input")];
}

connect(form);
growLists(form, connect);
form.addEventListener("input", () => updateSnippets(readForm(form)));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run();
});
$("#cancel").addEventListener("click", () => {
  if (!current) return;
  say(view, "Cancelling");
  if (current.id) cancel(current.id);
  else current.cancelled = true;
});
const reset = $("#reset");
reset.hidden = false;
reset.addEventListener("click", () => location.assign(location.pathname));
for (const link of $$(".tabs-like a")) link.addEventListener("click", () => history.replaceState(null, "", link.hash));
updateSnippets(readForm(form));
