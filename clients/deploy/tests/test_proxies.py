"""fal's own client through nginx and Caddy, as deploy/nginx and deploy/caddy set them up: with TLS, under a name of their own and
below a path."""

import hashlib
import json
import re
import shutil
import socket
import subprocess
from contextlib import closing, contextmanager
from html.parser import HTMLParser
from urllib.parse import urljoin

import fal_client.client
import h2.connection
import h2.events
import httpx
import pytest
from fal_client import SyncClient
from httpx_sse import connect_sse
from place import BINARY, ROOT, Place, eventually
from proxies import Caddy, Nginx

STARTER = "scumble/starter"
# drawn by a stand-in that takes a minute: whoever waits for its end has waited too long
SLOW = "fal-ai/flux/dev"
CARD = {"prompt": "a red star", "image_size": {"width": 64, "height": 64}, "num_inference_steps": 2}
MIB = 1024 * 1024
KINDS = [(Nginx, False), (Nginx, True), (Caddy, False), (Caddy, True)]
NAMES = [f"{kind.program}{'-below-a-path' if below else ''}" for kind, below in KINDS]


@pytest.fixture(scope="module")
def place():
    place = Place()
    yield place
    place.close()


@pytest.fixture(scope="module")
def key(place):
    return place.key()


@pytest.fixture(scope="module")
def server(place, key):
    """One server behind all of them."""
    return place.start("--stand-in=60000", settings="[server]\ntrusted_proxy = true\n")


@pytest.fixture(scope="module", params=KINDS, ids=NAMES)
def proxy(request, place, server):
    with in_front_of(server, place, request.param) as proxy:
        yield proxy


@contextmanager
def in_front_of(server, place, kind):
    (program, below) = kind
    if shutil.which(program.program, path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
        pytest.skip(f"{program.program} is not installed")
    number = sum(1 for _ in place.folder.glob(f"{program.program}-*"))
    proxy = program(place.folder / f"{program.program}-{number}", server, below)
    try:
        yield proxy
    finally:
        proxy.close()


@pytest.fixture
def fal(proxy, key, monkeypatch):
    """fal's client as it is, pointed at the proxy, whose certificate it trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(proxy.authority))
    ours = {
        "RUN_URL_FORMAT": f"{proxy.url}/run/",
        "QUEUE_URL_FORMAT": f"{proxy.url}/queue/",
        "REALTIME_URL_FORMAT": f"{proxy.url.replace('https', 'wss')}/run/",
        "REST_URL": f"{proxy.url}/rest",
        "CDN_URL": f"{proxy.url}/cdn",
    }
    for name, value in ours.items():
        monkeypatch.setattr(fal_client.client, name, value)
    return SyncClient(key=key)


@pytest.fixture
def http(proxy, key):
    """Any other program, over HTTP/2 as browsers do."""
    headers = {"authorization": f"Key {key}"}
    with httpx.Client(base_url=proxy.url, verify=proxy.context(), http2=True, headers=headers, timeout=30) as client:
        yield client


def connected(proxy, protocols=("http/1.1",)):
    """A connection on which a test says what it likes."""
    context = proxy.context()
    context.set_alpn_protocols(list(protocols))
    plain = socket.create_connection(("127.0.0.1", proxy.port), 30)
    return closing(context.wrap_socket(plain, server_hostname="localhost"))


def jobs(place):
    words = [BINARY, "jobs", "list", "--json", "--data-dir", str(place.data)]
    listed = subprocess.run(words, env=place.environment(), capture_output=True, text=True, check=True)
    return {job["id"]: job for job in json.loads(listed.stdout)}


def state(server, key, job):
    """How a job stands, asked past the proxy."""
    answer = server.raw("GET", f"/queue/{SLOW}/requests/{job}/status", headers={"authorization": f"Key {key}"})
    return answer.json()["status"]


def cancel(server, key, job):
    server.raw("PUT", f"/queue/{SLOW}/requests/{job}/cancel", headers={"authorization": f"Key {key}"})


def test_subscribe(fal, http, proxy):
    seen = []
    result = fal.subscribe(STARTER, CARD, with_logs=True, on_queue_update=seen.append)
    url = result["images"][0]["url"]
    assert url.startswith(f"{proxy.url}/cdn/files/"), url
    assert http.get(url).content.startswith(b"\x89PNG")
    assert seen, "it is told how it goes"


def test_the_queue_names_itself_as_the_caller_sees_it(fal, proxy):
    handle = fal.submit(STARTER, CARD)
    below = f"{proxy.url}/queue/{STARTER}/requests/{handle.request_id}"
    assert (handle.response_url, handle.status_url, handle.cancel_url) == (below, f"{below}/status", f"{below}/cancel")
    assert handle.get()["images"]


def test_a_stream_of_pictures(fal, proxy):
    *previews, last = fal.stream(STARTER, {**CARD, "num_inference_steps": 50})
    assert previews and previews[0]["images"][0]["url"].startswith("data:image/")
    assert last["images"][0]["url"].startswith(f"{proxy.url}/cdn/files/")


def test_events_come_while_the_job_goes_on(http, server, key):
    job = http.post(f"/queue/{SLOW}", json=CARD).json()["request_id"]
    try:
        path = f"/queue/{SLOW}/requests/{job}/status/stream"
        with connect_sse(http, "GET", path) as events:
            told = events.iter_sse()
            # whoever collects answers gives out nothing before the end, which is a minute away
            while json.loads(next(told).data)["status"] != "IN_PROGRESS":
                pass
            assert state(server, key, job) == "IN_PROGRESS"
            cancel(server, key, job)
            *_, last = told
            assert json.loads(last.data)["status"] == "COMPLETED"
    finally:
        cancel(server, key, job)


@pytest.mark.parametrize("kind", KINDS[::2], ids=NAMES[::2])
def test_a_browser_that_looks_away_is_missed(place, server, key, kind):
    """Over HTTP/2 its connection stays, and the one request on it is reset. nginx hears of it when it next has something to pass
    on, which is a comment of the stream, 15 s later at most."""
    with in_front_of(server, place, kind) as proxy:
        before = jobs(place)
        body = json.dumps(CARD).encode()
        head = {":method": "POST", ":scheme": "https", ":authority": f"localhost:{proxy.port}"}
        head |= {":path": f"{proxy.prefix}/run/{SLOW}/stream", "authorization": f"Key {key}", "content-length": str(len(body))}
        with connected(proxy, ["h2"]) as connection:
            two = h2.connection.H2Connection()
            two.initiate_connection()
            two.send_headers(1, list(head.items()))
            two.send_data(1, body, end_stream=True)
            connection.sendall(two.data_to_send())

            def answered():
                events = two.receive_data(connection.recv(65536))
                connection.sendall(two.data_to_send())
                return [event for event in events if isinstance(event, h2.events.ResponseReceived)]

            # the answer begins while the job goes on: it has a minute
            [answer] = eventually("the answer begins", answered)
            assert dict(answer.headers)[b"content-type"].startswith(b"text/event-stream")
            [job] = set(jobs(place)) - set(before)
            assert jobs(place)[job]["state"] == "running"
            two.reset_stream(1)
            connection.sendall(two.data_to_send())
            eventually("the job is cancelled", lambda: jobs(place)[job]["state"] == "cancelled")


def test_a_caller_who_goes_away_is_missed(proxy, key, place):
    before = jobs(place)
    body = json.dumps(CARD)
    head = f"POST {proxy.prefix}/run/{SLOW} HTTP/1.1\r\nHost: localhost:{proxy.port}\r\nAuthorization: Key {key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with connected(proxy) as connection:
        connection.sendall((head + body).encode())

        def runs():
            return [id for id, job in jobs(place).items() if id not in before and job["state"] == "running"]

        [job] = eventually("the job runs", runs)
    eventually("the job is cancelled", lambda: jobs(place)[job]["state"] == "cancelled")


def test_realtime(fal):
    for use_jwt in (True, False):
        with fal.realtime(STARTER, use_jwt=use_jwt) as connection:
            for seed in (1, 2):
                connection.send({**CARD, "seed": seed})
            assert [connection.recv()["seed"] for _ in range(2)] == [1, 2]


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A file that fal's client sends in parts, and its digest."""
    path = tmp_path_factory.mktemp("large") / "large.bin"
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for number in range(105):
            block = number.to_bytes(4, "little") * (MIB // 4)
            file.write(block)
            digest.update(block)
    return path, digest.hexdigest()


def test_a_large_upload_in_parts(fal, http, proxy, large, caplog):
    path, digest = large
    url = fal.upload_file(path)
    # the client has a second way, which would hide that the first fails
    assert "falling back" not in caplog.text
    assert url.startswith(f"{proxy.url}/cdn/files/"), url
    read = hashlib.sha256()
    with http.stream("GET", url) as answer:
        for block in answer.iter_bytes():
            read.update(block)
    assert read.hexdigest() == digest


def test_a_large_upload_in_one_request(fal, http):
    # more than a call may have ([limits] body_bytes), and than nginx takes when nobody says anything
    data = b"0123456789abcdef" * (4 * MIB)
    url = fal.upload(data, "application/octet-stream", "large.bin", repository="fal", fallback_repository=[])
    assert http.get(url).content == data
    assert http.head(url).headers["content-length"] == str(len(data))
    part = http.get(url, headers={"range": "bytes=16-31"})
    assert part.status_code == 206 and part.content == data[16:32]


def test_an_upload_beyond_the_limit_is_refused_before_it_comes(proxy, key, tmp_path):
    # a file with nothing in it but its length; curl listens while it sends
    large = tmp_path / "large.bin"
    with open(large, "wb") as file:
        file.truncate(10 * 1024 * MIB + 1)
    words = ["curl", "--silent", "--show-error", "--http1.1", "--max-time", "60", "--cacert", str(proxy.authority)]
    words += ["--request", "POST", "--upload-file", str(large), "--header", "expect:", "--header", f"authorization: Bearer {key}"]
    words += ["--output", "/dev/null", "--write-out", "%{http_code} %{size_upload}", f"{proxy.url}/cdn/files/upload"]
    sent = subprocess.run(words, capture_output=True, text=True)
    status, size = sent.stdout.split()
    assert status == "413" and int(size) < 64 * MIB, (sent.stdout, sent.stderr)


def test_the_examples_know_the_limit_for_uploads():
    row = re.search(r'^\| `upload_bytes` \| `"(\d+) GiB"` \|', (ROOT / "docs/SETTINGS.md").read_text(), re.MULTILINE)
    assert f"client_max_body_size {row[1]}g;" in (ROOT / "deploy/nginx/scumble-proxy.conf").read_text()
    for name in ("Caddyfile", "Caddyfile.below-a-path"):
        assert f"max_size {row[1]}GiB" in (ROOT / "deploy/caddy" / name).read_text()


def test_names_of_files_come_as_they_were_sent(fal, http):
    for name in ("a b.txt", "ä%2Fb+c.txt", "100%.txt"):
        url = fal.upload(b"bytes", "text/plain", name)
        assert http.get(url).content == b"bytes", url


class Links(HTMLParser):
    """What a page leads to, loads, and sends its forms to."""

    def __init__(self, page):
        super().__init__()
        self.found = set()
        self.forms = set()
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("href", "src") and value:
                self.found.add(value)
            if name in ("action", "formaction") and value:
                self.forms.add(value)


def test_pages_and_all_that_they_name_are_where_the_proxy_shows_them(http, proxy, key):
    origin = f"https://localhost:{proxy.port}"
    sent = http.post("/sign-in", data={"key": key, "next": "/"}, headers={"origin": origin, "authorization": ""})
    assert sent.status_code == 303, sent.text
    assert urljoin(f"{origin}/", sent.headers["location"]) == f"{proxy.url}/"
    cookie = sent.headers["set-cookie"]
    assert "; Secure" in cookie and f"; Path={proxy.prefix}/;" in cookie, cookie

    pages = ["/", f"/models/{STARTER}", "/history", "/jobs", "/keys", "/docs", "/docs/settings"]
    loaded = {}
    for page in pages:
        answer = http.get(page, headers={"authorization": ""})
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html"), page
        links = Links(answer.text)
        for link in links.found | links.forms:
            # what is on other sites is linked in full
            if link.startswith(("data:", "#", "mailto:")) or (link.startswith("http") and not link.startswith(origin)):
                continue
            target = urljoin(str(answer.url), link).split("#")[0]
            assert target.startswith(f"{proxy.url}/") or target == proxy.url, f"{page} names {link}"
            if link in links.found:
                loaded[target] = page
    assert any("/assets/" in target for target in loaded) and len(loaded) > 20
    for target, page in loaded.items():
        answer = http.get(target, headers={"authorization": ""}, follow_redirects=True)
        assert answer.status_code == 200, f"{page} names {target}: {answer.status_code}"


def test_what_callers_say_of_themselves_is_not_passed_on(http, proxy):
    forged = {
        "x-forwarded-for": "203.0.113.7",
        "x-forwarded-host": "elsewhere.example.org",
        "x-forwarded-proto": "http",
        "x-forwarded-prefix": "/elsewhere",
        "forwarded": "for=203.0.113.7;host=elsewhere.example.org;proto=http",
    }
    sent = http.post(f"/queue/{STARTER}", json=CARD, headers=forged).json()
    assert sent["status_url"].startswith(f"{proxy.url}/queue/{STARTER}/requests/"), sent


@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
def test_the_server_hears_who_calls(place, kind):
    """Without keys it answers this machine alone: so it has to believe the proxy, and not what a caller has added."""
    other = Place()
    try:
        server = other.start(settings="[server]\ntrusted_proxy = true\n")
        with in_front_of(server, other, kind) as proxy:
            asked = {"verify": proxy.context(), "timeout": 30}
            for headers in ({}, {"x-forwarded-for": "203.0.113.7"}, {"forwarded": "for=203.0.113.7"}):
                assert httpx.get(f"{proxy.url}/v1/models", headers=headers, **asked).status_code == 200, headers
        # the other way round: it is not that everybody is believed to be here
        refused = server.raw("GET", "/v1/models", headers={"x-forwarded-for": "203.0.113.7"})
        assert refused.status_code == 403
    finally:
        other.close()


def test_metrics_are_not_for_everybody(http):
    assert http.get("/metrics").status_code == 404


def test_http_2_is_spoken(http):
    assert http.get("/health").http_version == "HTTP/2"


def test_callers_are_led_to_where_it_is(proxy):
    if proxy.below:
        answer = httpx.get(f"https://localhost:{proxy.port}/scumble", verify=proxy.context())
        assert answer.status_code == 301 and urljoin(str(answer.url), answer.headers["location"]) == f"{proxy.url}/"
    elif proxy.program == "nginx":
        answer = httpx.get(f"http://localhost:{proxy.plain_port}/docs/settings?a=b")
        assert answer.status_code == 301 and answer.headers["location"] == "https://localhost/docs/settings?a=b"
