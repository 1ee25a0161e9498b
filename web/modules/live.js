// Lists that keep up with what happens, and the page of a request that is still being made.

import { $, $$, localTimes } from "./common.js";
import { follow, progressView } from "./run.js";

/** How often a list looks for news. */
const PAUSE_MS = 2000;

/** Fetches the page again and takes over what is live in it, unless somebody is busy there. */
async function refresh(live) {
  if (document.hidden || live.contains(document.activeElement)) return;
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!answer.ok || answer.redirected) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-live]");
  if (!fresh || live.contains(document.activeElement)) return;
  localTimes(fresh);
  if (fresh.innerHTML !== live.innerHTML) live.replaceChildren(...fresh.childNodes);
}

const live = $("[data-live]");
if (live) setInterval(() => refresh(live).catch(() => {}), PAUSE_MS);

const progress = $("[data-follow]");
if (progress) follow(progress.dataset.follow, progressView()).then(({ state }) => state !== "lost" && location.reload());

// a filter needs no button where scripts run
for (const form of $$("form[data-auto]")) {
  $("button", form).hidden = true;
  form.addEventListener("change", () => form.requestSubmit());
}
