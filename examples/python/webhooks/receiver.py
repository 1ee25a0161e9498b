"""Takes webhooks: verifies them, writes them down, answers at once, and fetches the pictures afterwards."""

import asyncio
import contextlib
import json
import logging
import mimetypes
import os
from pathlib import Path
from uuid import UUID

import httpx
from inbox import Inbox
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from verify import TOLERANCE_S, Keys, Refused, Unknown

SERVER = os.environ.get("SCUMBLE_URL", "http://127.0.0.1:8787").rstrip("/")
FOLDER = Path(os.environ.get("FOLDER", "received"))
BODY_BYTES = 4 * 1024 * 1024
# between two attempts to fetch what could not be fetched
PAUSE_S = 5
log = logging.getLogger("uvicorn.error")


async def receive(request):
    """2xx says: this is on disk, do not send it again. Anything else makes the server try again later."""
    body = await read(request)
    try:
        id, timestamp = await request.app.state.keys.verify(request.headers, body)
        told = json.loads(body)
        if told["request_id"] != id:
            raise Refused("the body is about another request")
        UUID(id)  # it becomes the name of a folder
    except Refused as refused:
        log.warning("refused: %s", refused)
        raise HTTPException(400, str(refused)) from refused
    except Unknown as error:
        raise HTTPException(503, f"{error}; send it again later") from error
    except (ValueError, TypeError, KeyError) as error:
        raise HTTPException(400, "the body is not that of a webhook") from error
    news = request.app.state.inbox.take(id, timestamp, told, keep_s=2 * TOLERANCE_S)
    if news == "replayed":
        raise HTTPException(409, "this very delivery was taken already")
    if news == "new":
        request.app.state.work.set()
    return PlainTextResponse(f"{news}\n")


async def read(request):
    """The body, byte for byte as it was signed."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_BYTES:
            raise HTTPException(413, "that is larger than a webhook")
    return bytes(body)


async def work(app):
    """Does what was taken, one request after the other; also what an earlier run has left."""
    while True:
        app.state.work.clear()
        for id, told in app.state.inbox.waiting():
            try:
                await handle(app.state.http, id, told)
            except (httpx.HTTPError, OSError) as error:
                log.warning("%s: %s; trying again", id, error)
                asyncio.get_running_loop().call_later(PAUSE_S, app.state.work.set)
            except Exception:  # what fails each time must not keep the others waiting
                log.exception("%s cannot be handled", id)
                app.state.inbox.done(id)
            else:
                app.state.inbox.done(id)
        await app.state.work.wait()


async def handle(http, id, told):
    """Yours to change. It may run twice for a request if the program ends in between, so it overwrites."""
    if told["status"] != "OK":
        log.info("%s failed: %s", id, told.get("error"))
        return
    folder = FOLDER / id
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(told["payload"]["images"], 1):
        answer = await http.get(image["url"])
        answer.raise_for_status()
        path = folder / f"{number}{mimetypes.guess_extension(image['content_type']) or '.bin'}"
        aside = path.with_suffix(".part")
        aside.write_bytes(answer.content)
        aside.replace(path)
    log.info("%s is here", id)


@contextlib.asynccontextmanager
async def lifespan(app):
    FOLDER.mkdir(parents=True, exist_ok=True)
    app.state.work = asyncio.Event()
    app.state.inbox = Inbox(FOLDER / "inbox.db")
    async with httpx.AsyncClient(timeout=30) as app.state.http:
        app.state.keys = Keys(f"{SERVER}/rest/.well-known/jwks.json", app.state.http)
        worker = asyncio.create_task(work(app))
        yield
        worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker
    app.state.inbox.close()


app = Starlette(routes=[Route("/hook", receive, methods=["POST"])], lifespan=lifespan)
