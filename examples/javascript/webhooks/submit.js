// Submits a request and does not wait: the webhook will tell. Usage: node submit.js HOOK PROMPT

import { fal } from "@fal-ai/client";

import { useServer } from "./fal-server.js";

useServer();
const [webhookUrl, prompt] = process.argv.slice(2);
const endpoint = process.env.ENDPOINT || "scumble/starter";
const { request_id } = await fal.queue.submit(endpoint, { input: { prompt }, webhookUrl });
console.log(request_id);
