// One request: sent, followed, shown. The server tells how it goes as events; words and a bar show it.

import { $, base, element } from "./common.js";
import { reason } from "./images.js";
import { toJson } from "./literal.js";

const STAGES = { load: "Loading the model", text_encode: "Reading the prompt", denoise: "Drawing", decode: "Finishing" };

/** Sends an input. Gives the request's id; throws what the server says, with its list of problems if it has one. */
export async function send(endpoint, input) {
  const answer = await fetch(`${base}/models/${endpoint}`, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json" },
    body: toJson(input),
  });
  if (answer.ok) return (await answer.json()).request_id;
  const said = await answer.clone().json().catch(() => ({}));
  const error = new Error(await reason(answer));
  if (Array.isArray(said.detail)) error.problems = said.detail;
  throw error;
}

/** Asks the server to stop. */
export function cancel(id) {
  return fetch(`${base}/history/${id}/cancel`, { method: "POST", redirect: "manual" });
}

/** Follows a request to its end and gives its output. */
export function follow(address, view) {
  return new Promise((resolve) => {
    const events = new EventSource(address);
    events.addEventListener("message", ({ data }) => {
      const news = JSON.parse(data);
      if (news.output) {
        events.close();
        resolve(news);
      } else {
        show(news, view);
      }
    });
    events.addEventListener("error", () => {
      // the browser connects again by itself; where it gives up there is nothing to wait for
      say(view, "The connection is lost; trying again");
      if (events.readyState === EventSource.CLOSED) resolve({ state: "lost", output: { ok: false } });
    });
  });
}

/** The page's places for progress. */
export function progressView() {
  const places = { bar: "#bar", status: "#status", steps: "#steps", preview: "#preview", empty: "#empty" };
  return Object.fromEntries(Object.entries(places).map(([name, selector]) => [name, $(selector)]));
}

/** Says something once: who listens is not told the same again and again. */
export function say(view, text) {
  if (view.status.textContent !== text) view.status.textContent = text;
}

function show({ state, position, progress, preview }, view) {
  if (state === "queued") {
    say(view, position ? `Waiting: ${position} go first` : "Waiting for a worker");
  } else if (progress) {
    say(view, STAGES[progress.stage] ?? progress.stage);
    const counted = progress.total > 1;
    view.steps.textContent = counted ? `${progress.done} of ${progress.total}` : "";
    if (counted) {
      view.bar.max = progress.total;
      view.bar.value = progress.done;
    } else {
      view.bar.removeAttribute("value");
    }
  } else if (!view.steps.textContent) {
    say(view, state === "leased" ? "Starting" : "Running");
  }
  if (preview) {
    view.preview.src = preview;
    view.preview.hidden = false;
    view.empty.hidden = true;
  }
}

/** Pictures with what can be done with them. `more` makes further buttons for one. */
export function pictures(output, about, more) {
  return output.pictures.map((picture, n) => {
    const { url, width, height } = picture;
    const image = element("img", { src: url, width, height, alt: `Picture ${n + 1}: ${about}`.slice(0, 160) });
    const caption = element("figcaption", {});
    if (width) caption.append(element("span", { class: "fact" }, `${width} × ${height}`));
    caption.append(element("a", { class: "button quiet", href: url, download: picture.name }, "Download"), ...more(picture));
    return element("figure", {}, image, caption);
  });
}

/** Seed and times as a list of terms. */
export function numbers(output) {
  const rows = output.timings.map(({ stage, text }) => [stage, text]);
  if (output.took) rows.unshift(["In all", output.took]);
  if (output.seed) rows.unshift(["Seed", output.seed]);
  return rows.map(([term, text]) => element("div", {}, element("dt", {}, term), element("dd", {}, text)));
}

/** What went wrong, in one sentence. */
export function failure({ state, output }) {
  if (state === "cancelled") return "Cancelled";
  if (state === "lost") return "The connection is lost. The request goes on: look at it in the history";
  return output.error ?? "It failed";
}
