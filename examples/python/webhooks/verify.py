"""Who has sent a webhook: the signature over its headers and body, held against the keys that the server publishes."""

import hashlib
import re
import time
from base64 import urlsafe_b64decode

import httpx
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

HEADERS = ["x-fal-webhook-request-id", "x-fal-webhook-user-id", "x-fal-webhook-timestamp", "x-fal-webhook-signature"]
# how far a clock may be off, and how old a delivery may be
TOLERANCE_S = 300


class Refused(Exception):
    """Nobody has to believe this delivery."""


class Unknown(Exception):
    """The keys cannot be had at the moment."""


class Keys:
    """The server's public keys, asked for once a day; and once more when none of them fits, as after a rotation.

    Whoever sends nonsense makes us ask no more than once a minute.
    """

    DAY_S, MINUTE_S = 86_400, 60

    def __init__(self, url, http):
        self.url, self.http = url, http
        self.keys, self.asked = [], -float("inf")

    async def verify(self, headers, body, now=None):
        """Gives what was signed, (request id, timestamp), or raises Refused, or Unknown."""
        request, user, timestamp, signature = (headers.get(name, "") for name in HEADERS)
        if not re.fullmatch(r"[0-9]{1,12}", timestamp):
            raise Refused("the timestamp is no number of seconds")
        if abs((now or time.time()) - int(timestamp)) > TOLERANCE_S:
            raise Refused("it is too old, or this clock is wrong")
        if not re.fullmatch(r"[0-9a-fA-F]{128}", signature):
            raise Refused("the signature is not 128 hex digits")
        message = "\n".join([request, user, timestamp, hashlib.sha256(body).hexdigest()]).encode()
        signature = bytes.fromhex(signature)
        if self._age() > self.DAY_S:
            await self._ask()
        if not self._fits(message, signature):
            if self._age() > self.MINUTE_S:
                await self._ask()
            if not self._fits(message, signature):
                raise Refused("nobody whose key is published has signed it")
        return request, int(timestamp)

    def _age(self):
        return time.monotonic() - self.asked

    async def _ask(self):
        try:
            answer = (await self.http.get(self.url)).raise_for_status()
            texts = [key["x"].rstrip("=") for key in answer.json()["keys"]]
            self.keys = [VerifyKey(urlsafe_b64decode(text + "=" * (-len(text) % 4))) for text in texts]
        except (httpx.HTTPError, ValueError, TypeError, LookupError) as error:
            raise Unknown("the server's keys cannot be had") from error
        self.asked = time.monotonic()

    def _fits(self, message, signature):
        for key in self.keys:
            try:
                key.verify(message, signature)
                return True
            except BadSignatureError:
                continue
        return False
