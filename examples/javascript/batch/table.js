// The two tables of a batch: the rows that come in, and the results.

import { readFile } from "node:fs/promises";

import { parse } from "csv-parse/sync";
import { stringify } from "csv-stringify/sync";

/** What is wrong with a row, for its line. */
export class Problem extends Error {}

const RESULT = ["id", "status", "file", "request_id", "input", "attempt", "error"];

/** The rows as `{ id, input }`, or `{ id, input: Problem }`: a bad row keeps nobody else from being drawn. */
export async function read(path) {
  const lines = [];
  let fault;
  try {
    const keep = (record, { lines: line }) => void lines.push({ record, line });
    parse(await readFile(path), { bom: true, relax_column_count: true, skip_empty_lines: true, on_record: keep });
  } catch (error) {
    // what stands before it has been read
    if (!error.code?.startsWith("CSV_")) throw error;
    fault = error;
  }
  const names = lines.shift()?.record ?? [];
  if (!names.includes("id") || !names.includes("prompt")) throw new Error(`${path} has no columns \`id\` and \`prompt\``);
  const rows = [];
  const ids = new Set();
  for (const { record, line } of lines) {
    let id = record[names.indexOf("id")]?.trim() || `line ${line}`;
    let input;
    if (ids.has(id)) {
      id = `${id} (line ${line})`;
      input = new Problem("another row has this id");
    } else {
      input = inputOf(names, record);
    }
    ids.add(id);
    rows.push({ id, input });
  }
  if (fault) {
    const input = new Problem(`this line and what follows cannot be read: ${fault.message}`);
    rows.push({ id: `line ${fault.lines}`, input });
  }
  return rows;
}

function inputOf(names, record) {
  if (record.length !== names.length) return new Problem("the row has more or fewer columns than the first line");
  const values = names.map((name, at) => [name, record[at].trim()]).filter(([name, value]) => name !== "id" && value);
  const input = Object.fromEntries(values.map(([name, value]) => [name, name === "prompt" ? value : numberOrText(value)]));
  return input.prompt ? input : new Problem("the prompt is empty");
}

function numberOrText(value) {
  return /^(-?(0|[1-9][0-9]*)(\.[0-9]+)?|true|false)$/.test(value) ? JSON.parse(value) : value;
}

/** What an earlier run has left. */
export async function readResults(path) {
  let text;
  try {
    text = await readFile(path);
  } catch (error) {
    if (error.code === "ENOENT") return [];
    throw error;
  }
  return parse(text, { columns: true }).map((line) => ({ ...line, attempt: Number(line.attempt) }));
}

export function writeResults(results) {
  return stringify(results, { header: true, columns: RESULT });
}
