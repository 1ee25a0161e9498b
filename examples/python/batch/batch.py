"""Makes a picture of every row of a CSV file: `python batch.py prompts.csv OUT`.

The file has the columns `id` and `prompt`; further ones, such as `seed`, are fields of the endpoint. OUT gets the pictures and
`results.csv`, a line for each row. Start it again after an interruption or an error: rows that are done are left alone, and
a request that was submitted already is found again, not made twice.
"""

import argparse
import asyncio
import csv
import hashlib
import json
import mimetypes
import os
import re
import secrets
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import fal_client
import httpx
from fal_server import use_server

ENDPOINT = os.environ.get("ENDPOINT", "scumble/starter")
# how long a row may take from its submit to its picture, and how long the server may be away
ROW_S = float(os.environ.get("ROW_S", 1800))
AWAY_S = float(os.environ.get("AWAY_S", 600))
# answers that say: not now
PASSES = {408, 429, 502, 503}


@dataclass
class Result:
    """A line of results.csv."""

    id: str
    status: str  # done, error, or unfinished: the server has the request perhaps, and it is asked for again
    file: str = ""
    request_id: str = ""
    # what the row asked for, and the how many-th time: a changed row is made anew, and so is one that has failed
    input: str = ""
    attempt: int = 1
    error: str = ""


class Problem(Exception):
    """What is wrong with a row, for its line."""


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("rows", type=Path)
    options.add_argument("out", type=Path)
    options.add_argument("--at-once", type=int, default=4, help="how many rows are at work at the same time (4)")
    chosen = options.parse_args()
    if chosen.at_once < 1:
        options.error("--at-once is at least 1")
    use_server()
    try:
        results = asyncio.run(Batch(chosen.out).run(read(chosen.rows), chosen.at_once))
    except KeyboardInterrupt:
        sys.exit("interrupted: start it again to go on")
    except (OSError, UnicodeError, Problem) as error:
        sys.exit(f"error: {error}")
    except ExceptionGroup as group:  # such as a full disk
        sys.exit(f"error: {group.exceptions[0]}")
    failed = sum(result.status != "done" for result in results)
    print(f"{len(results) - failed} done, {failed} not; see {chosen.out / 'results.csv'}")
    sys.exit(1 if failed else 0)


def read(path):
    """The rows as (id, input), or (id, Problem): a bad row keeps nobody else from being drawn."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        lines = csv.DictReader(file, strict=True)
        if not {"id", "prompt"} <= set(lines.fieldnames or []):
            raise Problem(f"{path} has no columns `id` and `prompt`")
        rows, ids = [], set()
        try:
            for line in lines:
                id = (line["id"] or "").strip() or f"line {lines.line_num}"
                try:
                    if id in ids:
                        id = f"{id} (line {lines.line_num})"
                        raise Problem("another row has this id")
                    rows.append((id, input_of(line)))
                except Problem as problem:
                    rows.append((id, problem))
                ids.add(id)
        except csv.Error as error:
            rows.append((f"line {lines.line_num}", Problem(f"this line and what follows cannot be read: {error}")))
    return rows


def input_of(line):
    if None in line or None in line.values():
        raise Problem("the row has more or fewer columns than the first line")
    values = {name: value.strip() for name, value in line.items() if name != "id" and value.strip()}
    if "prompt" not in values:
        raise Problem("the prompt is empty")
    return {name: value if name == "prompt" else number_or_text(value) for name, value in values.items()}


def number_or_text(value):
    return json.loads(value) if re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?|true|false", value) else value


class Batch:
    def __init__(self, out):
        self.out, self.results_file = out, out / "results.csv"
        (out / "pictures").mkdir(parents=True, exist_ok=True)
        # requests of this folder have a name of their own: in another folder the same rows are drawn anew
        name = out / ".batch"
        if not name.exists():
            write(name, secrets.token_hex(8).encode())
        self.name = name.read_text()
        self.results = self.earlier()
        self.fal = fal_client.AsyncClient()

    def earlier(self):
        try:
            with open(self.results_file, newline="", encoding="utf-8") as file:
                results = [Result(**line) for line in csv.DictReader(file)]
        except FileNotFoundError:
            return {}
        return {result.id: Result(**{**asdict(result), "attempt": int(result.attempt)}) for result in results}

    async def run(self, rows, at_once):
        """All rows, some at once, in the order of the file; results are on disk as they come."""
        room = asyncio.Semaphore(at_once)

        async def one(id, input):
            async with room:
                result = await self.row(id, input)
            if result is not self.results.get(id):
                self.results[id] = result
                self.save([id for id, _ in rows])
                print(f"{id}: {result.error or result.file}", file=sys.stderr)

        async with httpx.AsyncClient(timeout=60) as self.http, asyncio.TaskGroup() as group:
            for id, input in rows:
                group.create_task(one(id, input))
        self.save([id for id, _ in rows])
        return [self.results[id] for id, _ in rows]

    async def row(self, id, input):
        if isinstance(input, Problem):
            return Result(id, "error", error=f"not submitted: {input}")
        digest = hashlib.sha256(json.dumps([ENDPOINT, input], sort_keys=True).encode()).hexdigest()[:16]
        before = self.results.get(id)
        if before is None or before.input != digest:
            result = Result(id, "unfinished", input=digest)
        elif before.status == "done" and (self.out / before.file).exists():
            return before
        else:
            # an attempt that has failed is over; one that is unfinished, or whose picture was removed, is asked for again
            result = Result(id, "unfinished", input=digest, attempt=before.attempt + (before.status == "error"))
        try:
            async with asyncio.timeout(ROW_S):
                await self.draw(result, input)
        except fal_client.FalClientHTTPError as error:
            result.error = f"{error.status_code}: {words_of(error)}"
            result.status = "unfinished" if error.status_code in PASSES else "error"
        except TimeoutError:
            result.error = f"not within {ROW_S:g} s"
        except Problem as problem:
            result.status, result.error = "error", str(problem)
        except httpx.HTTPError as error:
            result.error = f"{type(error).__name__}: {error}"
        return result

    async def draw(self, result, input):
        # the same word for the same request: whatever happens on the way, it is made once
        id = hashlib.sha256(result.id.encode()).hexdigest()[:16]
        once = {"Idempotency-Key": f"{self.name}-{id}-{result.input}-{result.attempt}"}
        handle = await patiently(lambda: self.fal.submit(ENDPOINT, input, headers=once))
        result.request_id = handle.request_id
        while not isinstance(await patiently(handle.status), fal_client.Completed):
            await asyncio.sleep(0.25)
        answer = await patiently(handle.get)
        if not answer.get("images"):
            raise Problem("the answer has no picture")
        image = answer["images"][0]
        picture = await patiently(lambda: self.fetch(image["url"]))
        file = Path("pictures", name_of(result.id) + (mimetypes.guess_extension(image["content_type"]) or ".bin"))
        write(self.out / file, picture)
        result.status, result.file = "done", file.as_posix()

    async def fetch(self, url):
        answer = await self.http.get(url)
        if answer.is_client_error:
            raise Problem(f"the picture is not there any more: {answer.status_code}")
        return answer.raise_for_status().content

    def save(self, order):
        """Whole or not at all, so that a power cut leaves no half of a table."""
        lines = [self.results[id] for id in order if id in self.results]
        aside = self.results_file.with_suffix(".part")
        with open(aside, "w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, [field.name for field in fields(Result)])
            table.writeheader()
            table.writerows(asdict(line) for line in lines)
        aside.replace(self.results_file)


async def patiently(ask):
    """Asks again while the server is away or has no room, up to AWAY_S."""
    loop = asyncio.get_running_loop()
    deadline, pause = loop.time() + AWAY_S, 0.5
    while True:
        try:
            return await ask()
        except (httpx.HTTPError, fal_client.FalClientHTTPError) as error:
            response = getattr(error, "response", None)
            if response is not None and response.status_code not in PASSES or loop.time() + pause > deadline:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, 15)


def words_of(error):
    """`detail` is a list of problems, or a text."""
    if isinstance(error.message, list):
        return "; ".join(f"{'.'.join(map(str, problem['loc'][1:]))}: {problem['msg']}" for problem in error.message)
    return str(error.message)


def name_of(id):
    """A file name of any id: readable, in one folder, and another for each id."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", id).strip("-")[:60]
    return plain if plain == id else f"{plain}-{hashlib.sha256(id.encode()).hexdigest()[:8]}".lstrip("-")


def write(path, data):
    aside = path.with_name(path.name + ".part")
    aside.write_bytes(data)
    aside.replace(path)


if __name__ == "__main__":
    main()
