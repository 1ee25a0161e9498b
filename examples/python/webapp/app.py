"""A web app that redraws its visitors' pictures.

Browsers talk to this program alone: it has the key, takes the uploads, asks the image server, and passes the pictures on.
"""

import asyncio
import contextlib
import os
import uuid
from pathlib import Path

import fal_client
import httpx
from fal_server import use_server
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

ENDPOINT = os.environ.get("ENDPOINT", "fal-ai/flux/dev/image-to-image")
UPLOAD_BYTES = 10 * 1024 * 1024
# of the form around the picture, and of the prompt in it
FORM_BYTES = 16 * 1024
# a visitor waits for an answer of ours no longer than this
PATIENCE_S = float(os.environ.get("PATIENCE_S", 15))
PAGE = Path(__file__).parent / "page"

use_server()
fal = fal_client.AsyncClient()


async def index(request):
    return FileResponse(PAGE / "index.html")


async def submit(request):
    """Takes a form with `picture` and `prompt`, hands both to the image server, and gives the request's id."""
    prompt, picture = await read_form(request)
    kind = kind_of(picture)
    if kind is None:
        raise HTTPException(415, "This is no PNG, JPEG or WebP picture.")
    async with answering():
        url = await fal.upload(picture, kind)
        # what a browser sends twice is drawn once, and a repetition of ours too
        once = {"Idempotency-Key": request.headers.get("idempotency-key") or str(uuid.uuid4())}
        handle = await fal.submit(ENDPOINT, {"prompt": prompt, "image_url": url}, headers=once)
    return JSONResponse({"id": handle.request_id}, status_code=202)


async def status(request):
    """Where a request is: waiting, drawing, done or failed."""
    id = str(request.path_params["id"])
    async with answering():
        found = await fal.status(ENDPOINT, id)
        if isinstance(found, fal_client.Queued):
            return JSONResponse({"state": "waiting", "position": found.position})
        if isinstance(found, fal_client.InProgress):
            return JSONResponse({"state": "drawing"})
        if found.error is not None:
            return JSONResponse({"state": "failed", "message": await why(id)})
        return JSONResponse({"state": "done", "image": f"/pictures/{id}/image"})


async def why(id):
    """What the result of a request that failed says."""
    try:
        await fal.result(ENDPOINT, id)
    except fal_client.FalClientHTTPError as error:
        return words_of(error)
    return "The picture could not be made."


async def image(request):
    async with answering():
        result = await fal.result(ENDPOINT, str(request.path_params["id"]))
        found = await request.app.state.http.get(result["images"][0]["url"])
        found.raise_for_status()
    # whoever has the id has the picture, and it never changes
    headers = {"Cache-Control": "private, max-age=3600, immutable"}
    return Response(found.content, media_type=result["images"][0]["content_type"], headers=headers)


async def read_form(request):
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        raise HTTPException(411, "How large the form is has to be said first.")
    if int(length) > UPLOAD_BYTES + FORM_BYTES:
        raise HTTPException(413, f"A picture may have {UPLOAD_BYTES // 1024 // 1024} MB.")
    async with request.form(max_files=1, max_fields=1, max_part_size=FORM_BYTES) as form:
        prompt, file = form.get("prompt"), form.get("picture")
        if not isinstance(prompt, str) or not prompt.strip() or not hasattr(file, "read"):
            raise HTTPException(400, "A picture and a prompt are needed.")
        return prompt.strip(), await file.read()


def kind_of(picture):
    """What the bytes say that they are; names and headers of uploads are not believed."""
    if picture.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if picture.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if picture[:4] == b"RIFF" and picture[8:12] == b"WEBP":
        return "image/webp"
    return None


@contextlib.asynccontextmanager
async def answering():
    """What goes wrong between here and the image server, as something that a visitor can understand."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield
    except fal_client.FalClientHTTPError as error:
        if error.status_code in (400, 413, 422):
            raise HTTPException(422, words_of(error)) from error
        if error.status_code == 404:
            raise HTTPException(404, "There is no such picture.") from error
        raise HTTPException(503, "The image server does not answer as it should. Please try again.") from error
    except (TimeoutError, httpx.HTTPError) as error:
        raise HTTPException(503, "The image server cannot be reached. Please try again.") from error


def words_of(error):
    """`detail` is a list of problems, or a text."""
    if isinstance(error.message, list):
        return "; ".join(str(problem.get("msg")) for problem in error.message)
    return str(error.message)


async def told(request, error):
    return JSONResponse({"message": error.detail}, status_code=error.status_code, headers=error.headers)


class Guarded:
    """What each answer tells browsers; and other sites' pages may not spend your money."""

    HEADERS = [
        (b"content-security-policy", b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
         b"connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"same-origin"),
    ]

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def guarded(message):
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self.HEADERS]
            await send(message)

        site = dict(scope["headers"]).get(b"sec-fetch-site", b"none")
        if scope["method"] == "POST" and site not in (b"same-origin", b"none"):
            refusal = JSONResponse({"message": "This is for pages of this site."}, status_code=403)
            return await refusal(scope, receive, guarded)
        await self.app(scope, receive, guarded)


@contextlib.asynccontextmanager
async def lifespan(app):
    async with httpx.AsyncClient(timeout=PATIENCE_S) as app.state.http:
        yield


app = Starlette(
    routes=[
        Route("/", index),
        Route("/pictures", submit, methods=["POST"]),
        Route("/pictures/{id:uuid}", status),
        Route("/pictures/{id:uuid}/image", image),
        Mount("/page", StaticFiles(directory=PAGE)),
    ],
    middleware=[Middleware(Guarded)],
    exception_handlers={HTTPException: told},
    lifespan=lifespan,
)
