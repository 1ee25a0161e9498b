"""A durable queue as one would write it in Python: FastAPI over PostgreSQL, a submit acknowledged after its commit, one
worker that claims with `FOR UPDATE SKIP LOCKED` and is woken by `NOTIFY`.

    DATABASE_URL=postgresql:///somewhere python clients/bench/fastapi_queue.py PORT

It makes the table `bench_jobs` there, and drops one of an earlier run.
"""

import asyncio
import json
import os
import sys
import uuid
from contextlib import asynccontextmanager

import asyncpg
import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

TABLE = """
DROP TABLE IF EXISTS bench_jobs;
CREATE TABLE bench_jobs (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL UNIQUE,
    input jsonb NOT NULL,
    state text NOT NULL DEFAULT 'queued',
    result jsonb
);
CREATE INDEX ON bench_jobs (seq) WHERE state = 'queued';
"""
SUBMIT = "INSERT INTO bench_jobs (id, input) VALUES ($1, $2)"
CLAIM = """
UPDATE bench_jobs SET state = 'running' WHERE seq = (
    SELECT seq FROM bench_jobs WHERE state = 'queued' ORDER BY seq FOR UPDATE SKIP LOCKED LIMIT 1
) RETURNING seq, input
"""
FINISH = "UPDATE bench_jobs SET state = 'done', result = $2 WHERE seq = $1"


class Input(BaseModel):
    prompt: str
    image_size: dict
    num_inference_steps: int = 4
    seed: int | None = None


async def work(pool, wake):
    """Takes one job after the other; the work itself is nothing."""
    async with pool.acquire() as connection:
        while True:
            wake.clear()
            job = await connection.fetchrow(CLAIM)
            if job is None:
                await wake.wait()
                continue
            result = {"images": [], "prompt": json.loads(job["input"])["prompt"]}
            await connection.execute(FINISH, job["seq"], json.dumps(result))


@asynccontextmanager
async def lifespan(app):
    url = os.environ["DATABASE_URL"]
    wake = asyncio.Event()
    listener = await asyncpg.connect(url)
    await listener.execute(TABLE)
    await listener.add_listener("bench_jobs", lambda *_: wake.set())
    async with asyncpg.create_pool(url, min_size=8, max_size=32) as pool:
        app.state.pool = pool
        worker = asyncio.create_task(work(pool, wake))
        yield
        worker.cancel()
    await listener.close()


app = FastAPI(lifespan=lifespan)


@app.post("/submit")
async def submit(body: Input):
    id = uuid.uuid4()
    async with app.state.pool.acquire() as connection, connection.transaction():
        await connection.execute(SUBMIT, id, body.model_dump_json())
        await connection.execute("NOTIFY bench_jobs")
    return {"request_id": str(id), "status": "IN_QUEUE"}


@app.get("/status/{id}")
async def status(id: uuid.UUID):
    state = await app.state.pool.fetchval("SELECT state FROM bench_jobs WHERE id = $1", id)
    if state is None:
        raise HTTPException(404)
    words = {"queued": "IN_QUEUE", "running": "IN_PROGRESS", "done": "COMPLETED"}
    return {"request_id": str(id), "status": words[state]}


@app.get("/result/{id}")
async def result(id: uuid.UUID):
    row = await app.state.pool.fetchrow("SELECT state, result FROM bench_jobs WHERE id = $1", id)
    if row is None or row["state"] != "done":
        raise HTTPException(404 if row is None else 400)
    return json.loads(row["result"])


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
