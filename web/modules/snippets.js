// Keeps the programs on the page in step with the form.

import { $$ } from "./common.js";
import { literal } from "./literal.js";

const MARK = "§";

/** Writes the input into every snippet. */
export function updateSnippets(input) {
  for (const code of $$("code[data-frame]")) {
    const { language, frame, indent } = code.dataset;
    const [before, after] = frame.split(MARK);
    code.textContent = before + literal(language, input, Number(indent)) + after;
  }
}
