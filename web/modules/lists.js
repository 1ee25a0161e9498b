// Lists in the form: entries are added from the list's template and taken away again.

import { $, $$ } from "./common.js";

const NAMED = ["id", "name", "for", "data-name", "data-of", "aria-describedby"];

/** Makes lists grow; `connect` gets each new entry. */
export function growLists(root, connect) {
  const lists = $$('[data-kind="list"]', root);
  for (const list of lists) {
    const add = $(":scope > [data-add]", list);
    const held = $(":scope > [data-items]", list);
    // numbers are never used twice, so that names stay apart
    let next = held.children.length;
    const settle = () => (add.hidden = held.children.length >= Number(list.dataset.max));
    add.addEventListener("click", () => {
      const entry = $(":scope > template", list).content.cloneNode(true).firstElementChild;
      number(entry, next++);
      held.append(entry);
      connect(entry);
      settle();
      $("input, select, textarea", entry)?.focus();
      changed(list);
    });
    list.addEventListener("click", (event) => {
      const remove = event.target.closest("[data-remove]");
      const entry = remove?.closest(".item");
      if (entry?.parentElement !== held) return;
      entry.remove();
      settle();
      add.focus();
      changed(list);
    });
    settle();
  }
}

/** Puts the entry's number where the template has a mark, in lists inside of it too. */
function number(entry, n) {
  const inner = $$("template", entry).flatMap((template) => $$("*", template.content));
  for (const node of [entry, ...$$("*", entry), ...inner]) {
    for (const name of NAMED) {
      const value = node.getAttribute(name);
      // the first mark is this list's, later ones belong to lists in the entry
      if (value?.includes("#")) {
        node.setAttribute(name, value.split(" ").map((word) => word.replace("#", String(n))).join(" "));
      }
    }
  }
}

const changed = (list) => list.dispatchEvent(new Event("input", { bubbles: true }));
