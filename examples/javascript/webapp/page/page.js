// Sends the form, shows how far the upload is and where the request stands, and then the picture.

import { fal } from "@fal-ai/client";

const UPLOAD_BYTES = 10 * 1024 * 1024;
const form = document.querySelector("form");
const upload = document.querySelector("#upload");
const progress = document.querySelector("progress");
const figure = document.querySelector("figure");

fal.config({
  proxyUrl: "/api/fal/proxy",
  // files are sent by XMLHttpRequest, which tells how much of them is there; `fetch` does not
  fetch: (url, init) => (init?.body instanceof Blob ? send(url, init) : fetch(url, init)),
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  figure.hidden = true;
  try {
    const [file] = form.elements.picture.files;
    if (file.size > UPLOAD_BYTES) throw new Error("A picture may have 10 MB.");
    say("Uploading");
    const prompt = form.elements.prompt.value.trim();
    const { data } = await fal.subscribe(ENDPOINT, {
      // the client uploads what is a file and puts its address in its place
      input: { prompt, image_url: file },
      // a submit whose answer was lost is sent again, and drawn once
      headers: { "idempotency-key": crypto.getRandomValues(new Uint32Array(4)).join("-") },
      onQueueUpdate: (update) => {
        if (update.status === "IN_QUEUE") say(waiting(update.queue_position));
        if (update.status === "IN_PROGRESS") say("Drawing");
      },
    });
    show(data.images[0].url, prompt);
  } catch (error) {
    say(wordsOf(error));
  } finally {
    button.disabled = false;
    upload.hidden = true;
  }
});

/** Texts of others come into the page as texts, never as HTML. */
function say(text) {
  document.querySelector("[role=status]").textContent = text;
}

function waiting(position) {
  return position ? `Waiting: ${position} before you` : "Waiting: you are next";
}

function show(url, prompt) {
  const image = figure.querySelector("img");
  image.src = url;
  image.alt = prompt;
  figure.querySelector("figcaption").textContent = prompt;
  figure.hidden = false;
  say("Done");
}

/** `detail` is a list of problems, or a text. */
function wordsOf(error) {
  const detail = error.body?.detail;
  if (Array.isArray(detail)) return detail.map(({ msg }) => msg).join("; ");
  return detail ?? error.message;
}

function send(url, { method, headers, body }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.upload.onprogress = ({ loaded, total }) => {
      upload.hidden = false;
      progress.value = loaded / total;
    };
    request.onload = () => {
      const type = request.getResponseHeader("content-type") ?? "text/plain";
      const isEmpty = [204, 205, 304].includes(request.status);
      resolve(new Response(isEmpty ? null : request.response, { status: request.status, headers: { "content-type": type } }));
    };
    request.onerror = () => reject(new Error("The upload was interrupted. Please try again."));
    request.open(method, url);
    for (const [name, value] of Object.entries(headers ?? {})) request.setRequestHeader(name, value);
    request.send(body);
  });
}
