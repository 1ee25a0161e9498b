"""The web app in a real browser: uploads with their progress, the place in the queue, the picture, and hostile visitors."""

import os
import re
import socket
import uuid
from base64 import b64encode

import httpx
import pytest
from conftest import again
from pictures import png
from place import eventually
from playwright.sync_api import expect, sync_playwright

MODEL = "fal-ai/flux/dev/image-to-image"
UVICORN = re.compile(r"running on (http://\S+)")
NODE = re.compile(r"^(http://\S+)$", re.MULTILINE)
HOSTILE = """"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>"""
# one picture at a time, so that others wait
ONE = "[worker]\nconcurrency = 1\nfar_concurrency = 1\n"
# what the page has said, and what its bar has shown, since it was opened
WATCH = """
window.said = []; window.shown = [];
addEventListener("DOMContentLoaded", () => {
  const status = document.querySelector("[role=status]");
  new MutationObserver(() => said.push(status.textContent)).observe(status, { childList: true });
  new MutationObserver(() => shown.push(document.querySelector("progress").value))
    .observe(document.querySelector("progress"), { attributes: true });
});
"""


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        path = os.environ.get("CHROMIUM_BIN", "/usr/bin/chromium")
        # pages of tests are no stranger's: root may go without the sandbox
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def webapp(start, language):
    """Starts the app for an image server and gives its address."""

    def webapp(server, key="none", **environment):
        environment = {"SCUMBLE_URL": server.url, "FAL_KEY": key, "PORT": 0, **environment}
        words = ["-m", "uvicorn", "app:app", "--port", "0"] if language == "python" else ["server.js"]
        return start("webapp", words, **environment).address(UVICORN if language == "python" else NODE)

    return webapp


@pytest.fixture
def visit(browser):
    """Opens the app. What goes wrong on the page fails the test, and so does whoever else it asks or knows the key."""
    contexts, faults = [], []

    def visit(url, server, key=None, expected=()):
        context = browser.new_context()
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.add_init_script(WATCH)

        def told(text):
            if not any(part in text for part in expected):
                faults.append(text)

        def asked(request):
            if not request.url.startswith((f"{url}/", f"{server.url}/cdn/", "blob:", "data:")):
                told(f"asked another: {request.method} {request.url}")
            if key and key in f"{request.url} {request.all_headers()} {request.post_data_buffer or b''}":
                told(f"knows the key: {request.url}")

        page.on("console", lambda message: told(f"console: {message.text}") if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: told(f"script: {error}"))
        page.on("requestfinished", asked)
        page.goto(url)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert faults == []


def redraw(page, picture, prompt="a lighthouse", name="photo.png"):
    page.get_by_label("Picture").set_input_files({"name": name, "mimeType": "image/png", "buffer": picture})
    page.get_by_label("Prompt").fill(prompt)
    page.get_by_role("button", name="Redraw").click()


def drawn(page):
    """Waits for the picture and gives how wide it is."""
    expect(page.get_by_role("status")).to_have_text("Done", timeout=60_000)
    image = page.locator("figure img")
    expect(image).to_be_visible()
    return page.wait_for_function("document.querySelector('figure img').naturalWidth").json_value()


def test_from_the_upload_to_the_picture(place, webapp, visit):
    key = place.key()
    server = place.start("--stand-in=1200", settings=ONE)
    page = visit(webapp(server, key), server, key)
    # a slow line, so that there is something to see; and others who came before
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 1024 * 1024}
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", slow)
    for _ in range(4):
        other = {"prompt": "somebody else's", "image_url": f"data:image/png;base64,{b64encode(png()).decode()}"}
        sent = server.raw("POST", f"/queue/{MODEL}", json=other, headers={"Authorization": f"Key {key}"})
        assert sent.status_code == 200
    redraw(page, png(720, 640, noise=True))
    assert drawn(page) > 0
    said, shown = page.evaluate("said"), page.evaluate("shown")
    assert said[0] == "Uploading" and said[-1] == "Done", said
    assert any(re.fullmatch(r"Waiting: [1-9] before you", text) for text in said), said
    assert "Drawing" in said, said
    assert any(0 < value < 1 for value in shown) and shown == sorted(shown) and shown[-1] == 1, shown
    assert page.locator("figure figcaption").inner_text() == "a lighthouse"
    assert page.locator("figure img").get_attribute("alt") == "a lighthouse"
    assert key not in page.content() and not page.locator("#upload").is_visible()
    # and once more, on the same page
    redraw(page, png(), "a boat")
    expect(page.locator("figure figcaption")).to_have_text("a boat", timeout=60_000)


def test_texts_stay_texts(place, webapp, visit):
    server = place.start("--stand-in=0")
    page = visit(webapp(server), server)
    redraw(page, png(), HOSTILE, name='"><img src=x onerror=alert(1)>.png')
    assert drawn(page) > 0
    assert page.locator("figure figcaption").inner_text() == HOSTILE
    assert page.locator("img").count() == 1 and page.evaluate("window.hacked") is None
    assert page.locator("script").count() == 1


def test_the_page_loads_nothing_from_others(place, webapp):
    server = place.start("--stand-in=0")
    answer = httpx.get(webapp(server))
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_what_is_too_large_or_no_picture_is_said(place, webapp, visit, language):
    server = place.start("--stand-in=0", settings='[limits]\nupload_bytes = "2 MiB"\n')
    refusals = ["413", "415", "422", "503", "400"]
    page = visit(webapp(server), server, expected=[f"status of {status}" for status in refusals])
    status = page.get_by_role("status")
    count = []
    page.on("request", lambda request: count.append(request.url) if request.method != "GET" else None)
    redraw(page, b"\x89PNG\r\n\x1a\n" + bytes(10 * 1024 * 1024))
    expect(status).to_have_text("A picture may have 10 MB.")
    assert count == [], "nothing was sent"
    # the image server takes less than the app
    redraw(page, png(1000, 1000, noise=True))
    expect(status).to_have_text(re.compile("2097152|2 MiB|larg"), timeout=30_000)
    redraw(page, b"these are words, and no picture")
    expect(status).to_have_text(re.compile("picture|image"), timeout=30_000)
    expect(status).not_to_have_text(re.compile("Uploading|Waiting|Drawing"), timeout=30_000)
    assert not page.locator("figure").is_visible()
    # and the page still works
    redraw(page, png())
    assert drawn(page) > 0


def test_what_the_server_refuses_is_said(place, webapp, visit):
    server = place.start("--stand-in=0")
    page = visit(webapp(server), server, expected=["status of 422", "status of 400"])
    # a picture by its first bytes only
    redraw(page, png()[:40])
    status = page.get_by_role("status")
    expect(status).to_have_text(re.compile("image|picture", re.IGNORECASE), timeout=30_000)
    expect(page.get_by_role("button", name="Redraw")).to_be_enabled()


def test_a_server_that_goes_away_is_waited_for(place, webapp, visit):
    server = place.start("--stand-in=60000")
    url = webapp(server, PATIENCE_S=3)
    page = visit(url, server, expected=["status of 503", "ERR_CONNECTION"])
    redraw(page, png())
    expect(page.get_by_role("status")).to_have_text("Drawing", timeout=30_000)
    server.kill()
    with page.expect_response(lambda response: response.status == 503):
        pass
    again(place, server, "--stand-in=0")
    assert drawn(page) > 0


def test_who_is_not_the_page_gets_nothing(place, webapp, language):
    key = place.key()
    server = place.start("--stand-in=0")
    url = webapp(server, key)
    other_site = {"Sec-Fetch-Site": "cross-site"}
    if language == "python":
        form = {"data": {"prompt": "a star"}, "files": {"picture": ("a.png", png(), "image/png")}}
        assert httpx.post(f"{url}/pictures", **form, headers=other_site).status_code == 403
        assert httpx.post(f"{url}/pictures", data={"prompt": "a star"}).status_code == 400
        several = [("picture", ("a.png", png())), ("picture", ("b.png", png()))]
        assert httpx.post(f"{url}/pictures", data={"prompt": "a star"}, files=several).status_code == 400
        form["data"]["prompt"] = "x" * 20_000
        assert httpx.post(f"{url}/pictures", **form).status_code == 400
        chunks = (b"x" for _ in range(3))
        assert httpx.post(f"{url}/pictures", content=chunks).status_code == 411
        for path in (uuid.uuid4(), f"{uuid.uuid4()}/image", "x", "..%2f..%2fhealth", "%2e%2e", "../page/../app.py"):
            assert httpx.get(f"{url}/pictures/{path}").status_code == 404, path
        assert httpx.get(f"{url}/page/..%2fapp.py").status_code == 404
        assert refused_before_it_is_sent(url, "/pictures", 50 * 1024 * 1024) == "413"
        return

    def proxied(method, target, **headers):
        headers = {"x-fal-target-url": target, **headers}
        body = None if method == "GET" else '{"prompt": "a star"}'
        return httpx.request(method, f"{url}/api/fal/proxy", headers=headers, content=body)

    good = f"https://queue.fal.run/{MODEL}"
    id = uuid.uuid4()
    assert proxied("POST", good, **other_site).status_code == 403
    for method, target in [
        ("POST", "https://queue.fal.run/fal-ai/flux-pro/v1.1"),
        ("POST", f"https://fal.run/{MODEL}"),
        ("POST", f"https://queue.fal.run.evil.test/{MODEL}"),
        ("POST", f"https://queue.fal.run/{MODEL}/../../../x"),
        ("POST", f"https://queue.fal.run@127.0.0.1/{MODEL}"),
        ("POST", f"http://queue.fal.run/{MODEL}"),
        ("GET", f"{server.url}/metrics"),
        ("GET", "https://queue.fal.run/fal-ai/flux/requests/x/status"),
        ("GET", f"https://queue.fal.run/fal-ai/flux/requests/{id}/status/../../.."),
        ("PUT", f"https://queue.fal.run/fal-ai/flux/requests/{id}/cancel"),
        ("POST", "https://rest.fal.ai/tokens/"),
        # money's way out: somebody else's webhook
        ("POST", f"https://queue.fal.run/{MODEL}?fal_webhook=http://127.0.0.1:1/"),
        ("POST", "https://rest.fal.ai/storage/upload/initiate?storage_type=other"),
        ("GET", f"https://queue.fal.run/fal-ai/flux/requests/{id}?logs=1#x"),
        ("GET", "file:///etc/passwd"),
        ("GET", ""),
        ("GET", "no address"),
    ]:
        answer = proxied(method, target)
        assert (answer.status_code, key in answer.text) == (403, False), target
    sent = proxied("POST", good)
    # what is wrong keeps its status on the way through
    request = sent.json()["request_id"]
    assert sent.status_code == 200
    result = f"https://queue.fal.run/fal-ai/flux/requests/{request}"
    ended = eventually("it has ended", lambda: (a := proxied("GET", result)).status_code != 400 and a)
    assert ended.status_code == 422 and key not in f"{ended.text} {ended.headers}"
    assert proxied("GET", f"https://queue.fal.run/fal-ai/flux/requests/{id}").status_code == 404
    large = httpx.post(f"{url}/api/fal/proxy", headers={"x-fal-target-url": good}, content=b" " * 100_000)
    assert large.status_code == 413


def refused_before_it_is_sent(url, path, length):
    """The status for a body that is announced and not sent."""
    host, port = url.split("//")[1].split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        connection.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode())
        return connection.recv(100).split()[1].decode()
