// Sends the form, shows how far the upload is and where the request stands, and then the picture.

const UPLOAD_BYTES = 10 * 1024 * 1024;
const form = document.querySelector("form");
const upload = document.querySelector("#upload");
const progress = document.querySelector("progress");
const figure = document.querySelector("figure");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  figure.hidden = true;
  try {
    const { prompt, picture } = form.elements;
    if (picture.files[0].size > UPLOAD_BYTES) throw new Error("A picture may have 10 MB.");
    say("Uploading");
    const { id } = await send(new FormData(form));
    show(await finished(id), prompt.value);
  } catch (error) {
    say(error.message);
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

/** `fetch` does not tell how much it has sent; XMLHttpRequest does. */
function send(body) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.upload.onprogress = ({ loaded, total }) => {
      upload.hidden = false;
      progress.value = loaded / total;
    };
    request.onload = () => {
      const answer = parsed(request.responseText);
      if (request.status < 300) resolve(answer);
      else reject(new Error(answer.message ?? "That did not work. Please try again."));
    };
    request.onerror = () => reject(new Error("The upload was interrupted. Please try again."));
    request.open("POST", "/pictures");
    request.setRequestHeader("idempotency-key", crypto.getRandomValues(new Uint32Array(4)).join("-"));
    request.send(body);
  });
}

/** The address of the picture, once it is there. A server that is away for a while is waited for. */
async function finished(id) {
  for (;;) {
    const { status, answer } = await ask(`/pictures/${id}`);
    if (status === 503) say("The image server is away; waiting for it");
    else if (status !== 200) throw new Error(answer.message ?? "That did not work. Please try again.");
    else if (answer.state === "waiting") say(waiting(answer.position));
    else if (answer.state === "drawing") say("Drawing");
    else if (answer.state === "done") return answer.image;
    else throw new Error(answer.message);
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

async function ask(url) {
  try {
    const response = await fetch(url);
    return { status: response.status, answer: parsed(await response.text()) };
  } catch {
    return { status: 503, answer: {} };
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}
