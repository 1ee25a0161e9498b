"""A receiver of webhooks believes what is signed and new, answers at once, and does each request once."""

import json
import re
import socket
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from nacl.signing import SigningKey
from pictures import png, size
from place import eventually
from signing import Signer

SETTINGS = "[webhooks]\nallow_private = true\n"
UVICORN = re.compile(r"running on (http://\S+)")
NODE = re.compile(r"^(http://\S+)/hook$", re.MULTILINE)


@pytest.fixture
def signer():
    signer = Signer()
    yield signer
    signer.close()


@pytest.fixture
def receive(place, start, language):
    """Starts the receiver of an image server; all of a test share one folder. Gives the program and its hook."""
    place.received = place.folder / "kept" / "here" / "received"

    def receive(url, port=0):
        environment = {"SCUMBLE_URL": url, "FOLDER": place.received, "PORT": port}
        if language == "python":
            words = ["-m", "uvicorn", "receiver:app", "--port", port]
        else:
            words = ["receiver.js"]
        program = start("webhooks", words, **environment)
        program.hook = program.address(UVICORN if language == "python" else NODE) + "/hook"
        return program

    return receive


def post(program, body, headers):
    return httpx.post(program.hook, content=body, headers=headers, timeout=30)


def picture(place, request):
    path = place.received / request / "1.png"
    return path.read_bytes() if path.exists() else None


def test_what_the_server_tells_is_taken_and_its_picture_fetched(place, receive, start, language):
    key = place.key()
    server = place.start("--stand-in=0", settings=SETTINGS)
    program = receive(server.url)
    words = ["submit.py" if language == "python" else "submit.js", program.hook, "a star"]
    model = {"SCUMBLE_URL": server.url, "FAL_KEY": key, "ENDPOINT": "fal-ai/flux/schnell"}
    submitted = start("webhooks", words, **model)
    assert submitted.ended() == 0, submitted.said
    request = submitted.said.strip()
    found = eventually("the picture is here", lambda: picture(place, request))
    told = server.raw("GET", f"/queue/fal-ai/flux/requests/{request}", headers={"Authorization": f"Key {key}"}).json()
    assert httpx.get(told["images"][0]["url"]).content == found
    # a failure is told, too, and no reason to fall over
    model["ENDPOINT"] = "fal-ai/flux/dev/image-to-image"
    submitted = start("webhooks", words, **model)
    assert submitted.ended() == 0, submitted.said
    failed = submitted.said.strip()
    eventually("the failure is told", lambda: f"{failed} failed" in program.said)
    assert program.runs


def test_the_server_tries_again_until_somebody_takes_it(place, receive, start, language):
    server = place.start("--stand-in=0", settings=SETTINGS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    hook = f"http://127.0.0.1:{port}/hook"
    words = ["submit.py" if language == "python" else "submit.js", hook, "a star"]
    submitted = start("webhooks", words, SCUMBLE_URL=server.url, ENDPOINT="fal-ai/flux/schnell")
    assert submitted.ended() == 0, submitted.said
    request = submitted.said.strip()
    eventually("nobody was there", lambda: re.search(f"webhook.*{request}", server.log))
    receive(server.url, port)
    assert size(eventually("the picture is here", lambda: picture(place, request)))


def test_a_delivery_counts_once(place, receive, signer):
    program = receive(signer.url)
    request = str(uuid.uuid4())
    body = json.dumps(signer.told(request)).encode()
    headers = signer.signed(request, body, age_s=10)
    answer = post(program, body, headers)
    assert (answer.status_code, answer.text.strip()) == (200, "new")
    eventually("its picture is fetched", lambda: picture(place, request) == png())
    # the very same bytes, by somebody who has seen them
    assert post(program, body, headers).status_code == 409
    shouted = {**headers, "X-Fal-Webhook-Signature": headers["X-Fal-Webhook-Signature"].upper()}
    assert post(program, body, shouted).status_code == 409
    # told again by the server, whose answer was lost
    answer = post(program, body, signer.signed(request, body, age_s=5))
    assert (answer.status_code, answer.text.strip()) == (200, "known")
    other = str(uuid.uuid4())
    body = json.dumps(signer.told(other)).encode()
    assert post(program, body, signer.signed(other, body)).text.strip() == "new"
    eventually("its picture is fetched", lambda: picture(place, other))
    assert signer.fetched == [f"/{request}.png", f"/{other}.png"]


def test_of_many_at_once_one_is_new(place, receive, signer):
    program = receive(signer.url)
    request = str(uuid.uuid4())
    body = json.dumps(signer.told(request)).encode()
    with ThreadPoolExecutor(10) as threads:
        ages = [0, 1, 2, 3, 4] * 4
        answers = threads.map(lambda age_s: post(program, body, signer.signed(request, body, age_s)), ages)
        words = sorted((answer.status_code, answer.text.strip()) for answer in answers)
    assert [word for word in words if word[1] == "new"] == [(200, "new")]
    assert {status for status, _ in words} == {200, 409}
    eventually("its picture is fetched", lambda: picture(place, request))
    assert len(signer.fetched) == 1


def test_what_is_not_signed_or_old_is_refused(place, receive, signer):
    program = receive(signer.url)
    request = str(uuid.uuid4())
    body = json.dumps(signer.told(request)).encode()
    good = signer.signed(request, body)
    name = "X-Fal-Webhook-"
    wrong = {
        "no headers": {},
        "another body": signer.signed(request, body + b" "),
        "another request": {**good, f"{name}Request-Id": str(uuid.uuid4())},
        "another user": {**good, f"{name}User-Id": "somebody"},
        "another time": {**good, f"{name}Timestamp": str(int(good[f"{name}Timestamp"]) - 1)},
        "another's key": signer.signed(request, body, key=SigningKey.generate()),
        "old": signer.signed(request, body, age_s=320),
        "of the future": signer.signed(request, body, age_s=-320),
        "no time": {**good, f"{name}Timestamp": ""},
        "time as text": {**good, f"{name}Timestamp": "now"},
        "time with an exponent": {**good, f"{name}Timestamp": "1e9"},
        "a time beyond all": {**good, f"{name}Timestamp": "9" * 400},
        "no signature": {**good, f"{name}Signature": ""},
        "zeros": {**good, f"{name}Signature": "00" * 64},
        "a short signature": {**good, f"{name}Signature": good[f"{name}Signature"][:-2]},
        "no hex digits": {**good, f"{name}Signature": "xy" * 64},
    }
    for what, headers in wrong.items():
        assert post(program, body, headers).status_code == 400, what
    assert signer.asked == 1, "nonsense does not make it ask for keys each time"
    assert picture(place, request) is None and signer.fetched == []
    assert post(program, body, good).status_code == 200
    assert "Traceback" not in program.said, program.said


def test_what_is_signed_is_still_looked_at(place, receive, signer):
    program = receive(signer.url)
    request = str(uuid.uuid4())
    bodies = {
        "no JSON": b"\xff{",
        "a list": b"[]",
        "null": b"null",
        "another request": json.dumps(signer.told(str(uuid.uuid4()))).encode(),
        "no request": b"{}",
    }
    for what, body in bodies.items():
        assert post(program, body, signer.signed(request, body)).status_code == 400, what
    # names that would be paths
    for evil in ("../../evil", "evil", "..", "a\\b"):
        body = json.dumps(signer.told(evil)).encode()
        assert post(program, body, signer.signed(evil, body)).status_code == 400, evil
    large = b'{"pad": "' + b"x" * (5 * 1024 * 1024) + b'"}'
    try:
        assert post(program, large, signer.signed(request, large)).status_code == 413
    except (httpx.WriteError, httpx.RemoteProtocolError):
        pass  # it has hung up before all was sent, which is as good
    # a webhook whose payload is not what anybody expects keeps no other from being done
    for payload in (None, {"images": None}, {"images": [{"url": 5, "content_type": "image/png"}]}):
        odd = str(uuid.uuid4())
        body = json.dumps(signer.told(odd, payload=payload)).encode()
        assert post(program, body, signer.signed(odd, body)).status_code == 200
    body = json.dumps(signer.told(request)).encode()
    assert post(program, body, signer.signed(request, body)).status_code == 200
    eventually("its picture is fetched", lambda: picture(place, request))
    assert not list(place.folder.rglob("*evil*"))
    assert httpx.get(program.hook).status_code in (404, 405)


def test_it_answers_before_it_works_and_goes_on_after_a_power_cut(place, receive, signer):
    program = receive(signer.url)
    signer.open.clear()
    requests = [str(uuid.uuid4()) for _ in range(3)]
    for request in requests:
        body = json.dumps(signer.told(request)).encode()
        assert post(program, body, signer.signed(request, body)).status_code == 200
    eventually("a picture is asked for", lambda: signer.fetched)
    program.kill()
    assert not any(picture(place, request) for request in requests)
    signer.open.set()
    program = receive(signer.url)
    for request in requests:
        eventually("its picture is fetched", lambda request=request: picture(place, request))
    body = json.dumps(signer.told(requests[0])).encode()
    answer = post(program, body, signer.signed(requests[0], body, age_s=1))
    assert answer.status_code == 409 or answer.text.strip() == "known"


def test_without_keys_it_asks_for_another_attempt(place, receive):
    signer = Signer()
    port, request = signer.port, str(uuid.uuid4())
    body = json.dumps(signer.told(request)).encode()
    headers = signer.signed(request, body)
    program = receive(signer.url)
    signer.close()
    assert post(program, body, headers).status_code == 503
    back = Signer(port)
    back.published = [SigningKey.generate(), signer.key]
    try:
        assert post(program, body, headers).status_code == 200, "nothing was noted of the first attempt"
        eventually("its picture is fetched", lambda: picture(place, request))
    finally:
        back.close()


def test_pictures_wait_for_a_server_that_is_away(place, receive):
    signer = Signer()
    request, port = str(uuid.uuid4()), signer.port
    body = json.dumps(signer.told(request)).encode()
    program = receive(signer.url)
    signer.open.clear()
    assert post(program, body, signer.signed(request, body)).status_code == 200
    eventually("the picture is asked for", lambda: signer.fetched)
    program.kill()
    signer.close()
    program = receive(f"http://127.0.0.1:{port}")
    eventually("it was tried in vain", lambda: "trying again" in program.said)
    assert picture(place, request) is None
    back = Signer(port)
    try:
        eventually("the picture is here", lambda: picture(place, request))
    finally:
        back.close()
