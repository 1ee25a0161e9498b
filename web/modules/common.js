// What every page does a little better with scripts: tabs, copying, times in the reader's own zone, questions before
// something is gone for good.

/** The path in front of this server's own paths; empty but behind some proxies. */
export const base = document.documentElement.dataset.base ?? "";

/** The first element that fits. */
export const $ = (selector, within = document) => within.querySelector(selector);

/** All of them. */
export const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];

/** An element with attributes and children. Text stays text. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** Says what went wrong, or takes it back. */
export function complain(place, text) {
  place.textContent = text ?? "";
  place.hidden = !text;
}

/** A tab list as WAI-ARIA describes it: arrows move, the chosen tab is the one in the tab order. */
function tabs(root) {
  const all = $$('[role="tab"]', root);
  const choose = (chosen, focus) => {
    for (const tab of all) {
      const is = tab === chosen;
      tab.setAttribute("aria-selected", String(is));
      tab.tabIndex = is ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = !is;
    }
    if (focus) chosen.focus();
  };
  all.forEach((tab, n) => {
    tab.addEventListener("click", () => choose(tab, false));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: n + 1, ArrowLeft: n - 1, Home: 0, End: all.length - 1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      choose(all[(step + all.length) % all.length], true);
    });
  });
  choose(all[0], false);
}

/** Copies and says so on the button for a moment. */
function copying(button, text) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const said = button.textContent;
    try {
      await navigator.clipboard.writeText(text());
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select it and copy by hand";
    }
    setTimeout(() => (button.textContent = said), 2000);
  });
}

/** Times as this browser writes them. */
export function localTimes(within = document) {
  const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  for (const time of $$("time[datetime]", within)) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.valueOf())) time.textContent = format.format(at);
  }
}

for (const root of $$("[data-tabs]")) tabs(root);
for (const button of $$("[data-copy]")) copying(button, () => $("code", button.parentElement).textContent);
for (const button of $$("[data-copy-from]")) {
  copying(button, () => document.getElementById(button.dataset.copyFrom).textContent);
}
localTimes();

document.addEventListener("submit", (event) => {
  const question = event.target.dataset?.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});
