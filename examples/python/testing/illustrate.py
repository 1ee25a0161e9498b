"""What is tested here: a small function of an application, which draws a picture for a text."""

import fal_client
import httpx

ENDPOINT = "fal-ai/imagen4/preview/fast"


class Refused(Exception):
    """The text cannot be illustrated; somebody has to change it."""


class Unavailable(Exception):
    """Not now; the same text may work later."""


def illustrate(text):
    """Gives a picture as (bytes, content type)."""
    try:
        output = fal_client.subscribe(ENDPOINT, {"prompt": text, "aspect_ratio": "16:9"}, client_timeout=300)
        image = output["images"][0]
        answer = httpx.get(image["url"], timeout=30).raise_for_status()
    except fal_client.FalClientHTTPError as error:
        if error.status_code == 422:
            raise Refused(words_of(error)) from error
        raise Unavailable("no picture could be made") from error
    except (fal_client.FalClientTimeoutError, httpx.HTTPError) as error:
        raise Unavailable("no picture could be made") from error
    return answer.content, image["content_type"]


def words_of(error):
    return "; ".join(problem["msg"] for problem in error.message) if isinstance(error.message, list) else str(error)
