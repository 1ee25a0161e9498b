// Search and filter among the cards that are there already.

import { $, $$ } from "./common.js";

const form = $(".filter");
const cards = $$(".card");

function show() {
  const words = form.elements.q.value.toLowerCase().split(/\s+/).filter(Boolean);
  const way = form.elements.way.value;
  let shown = 0;
  for (const card of cards) {
    const fits = words.every((word) => card.dataset.words.includes(word)) && (!way || card.dataset.way === way);
    card.hidden = !fits;
    if (fits) shown += 1;
  }
  $("#nothing").hidden = shown > 0;
  $("#found").textContent = `${shown} of ${cards.length} models`;
  // so that the page can be shared and comes back as it was
  const query = new URLSearchParams();
  if (form.elements.q.value) query.set("q", form.elements.q.value);
  if (way) query.set("way", way);
  if (form.elements.image) query.set("image", form.elements.image.value);
  history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
}

form.addEventListener("input", show);
form.addEventListener("submit", (event) => event.preventDefault());
