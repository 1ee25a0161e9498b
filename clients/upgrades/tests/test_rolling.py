"""Two versions beside each other, as separate processes, while callers submit: nothing that was acknowledged is lost."""

import os
import random
import threading
import time
import uuid

import httpx
import pytest
from place import BINARY, eventually
from stores import MODEL, card, ended, is_picture, path_of, status_of

OLD = os.environ.get("SCUMBLE_OLD_BIN")
needs_old = pytest.mark.skipif(
    not OLD,
    reason="SCUMBLE_OLD_BIN names no binary of the version before: git worktree add --detach ../before $(cat "
    "clients/upgrades/before.txt), cargo build --release -p scumble-cli there, and name its target/release/scumble",
)
VERSIONS = {"before": OLD, "now": BINARY}
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLERS = 4


class Fleet:
    """Gateways and workers of both versions on one database, and who calls them."""

    def __init__(self, installation, hooks):
        self.installation, self.hooks = installation, hooks
        self.gateways, self.workers = [], []
        self.acknowledged, self.answered, self.problems = {}, 0, []
        self._ends = threading.Event()
        self._threads = []

    def gateway(self, version):
        self.gateways.append(self.installation.start("gateway", VERSIONS[version]))
        return self.gateways[-1]

    def worker(self, version, pause_ms=30):
        self.workers.append(self.installation.start("worker", VERSIONS[version], pause_ms))
        return self.workers[-1]

    def begin(self):
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def end(self):
        """Callers stop calling; what they were told is what has to be kept."""
        self._ends.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive()
        assert not self.problems, self.problems[:3]

    def until_more(self, jobs=25):
        """Until so many more jobs were acknowledged and as many direct calls as go with them answered."""
        wanted = len(self.acknowledged) + jobs
        eventually("callers get on", lambda: self.problems or len(self.acknowledged) >= wanted)
        assert not self.problems, self.problems[:3]

    def _call(self, number):
        try:
            turn = 0
            while not self._ends.is_set():
                turn += 1
                prompt = f"caller {number}, turn {turn}"
                if turn % 5 == 0:
                    self._direct(prompt)
                else:
                    self._submit(prompt)
        except Exception as error:  # noqa: BLE001: told in the test's own thread
            self.problems.append(repr(error))

    def _submit(self, prompt):
        word = uuid.uuid4().hex
        headers = {"idempotency-key": word, "traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "x-fal-tags": "team=a"}
        answer = self._asked(f"/queue/{MODEL}?fal_webhook={self.hooks.url}", card(prompt), headers)
        job = answer.json()["request_id"]
        assert job not in self.acknowledged
        self.acknowledged[job] = prompt

    def _direct(self, prompt):
        answer = self._asked(f"/run/{MODEL}", card(prompt), {})
        assert len(answer.json()["images"]) == 1
        self.answered += 1

    def _asked(self, path, body, headers):
        """As fal's clients do it: what is refused for now, and what breaks off, is tried again, at any gateway."""
        deadline = time.monotonic() + 60
        while True:
            url = random.choice(self.gateways).url
            try:
                answer = httpx.post(url + path, json=body, headers=headers, timeout=60)
            except httpx.TransportError as error:
                answer, why = None, repr(error)
            if answer is not None:
                if answer.status_code == 200:
                    return answer
                why = f"{answer.status_code} {answer.text}"
                assert answer.status_code == 503 and answer.headers.get("x-fal-retryable") == "true", why
            assert time.monotonic() < deadline, why
            time.sleep(0.05)

    def check(self):
        """Every acknowledged job has ended once and well, whichever gateway is asked, and its receiver knows."""
        assert len(self.acknowledged) > 50 and self.answered > 5
        for number, job in enumerate(self.acknowledged):
            gateway = self.gateways[number % len(self.gateways)]
            answer = ended(gateway, job)
            assert answer.status_code == 200, (job, answer.text)
            [image] = answer.json()["images"]
            assert is_picture(gateway.raw("GET", path_of(image["url"])))
            assert answer.json()["prompt"] == self.acknowledged[job]
        eventually("all webhooks", lambda: {body["request_id"] for body in self.hooks.told} >= set(self.acknowledged))
        assert {body["status"] for body in self.hooks.told} == {"OK"}


@pytest.fixture
def fleet(installation, hooks):
    fleet = Fleet(installation, hooks)
    yield fleet
    fleet._ends.set()


@needs_old
@pytest.mark.parametrize(("gateways", "workers"), [("before", "now"), ("now", "before")])
def test_halves_of_two_versions_work_together(fleet, gateways, workers):
    for _ in range(2):
        fleet.gateway(gateways)
    for _ in range(2):
        fleet.worker(workers)
    fleet.begin()
    fleet.until_more(60)
    fleet.end()
    fleet.check()


@needs_old
@pytest.mark.parametrize(("first", "then"), [("before", "now"), ("now", "before")], ids=["upgrade", "step back"])
def test_one_after_the_other_is_replaced_while_callers_call(fleet, first, then):
    for _ in range(2):
        fleet.gateway(first)
        fleet.worker(first)
    fleet.begin()
    fleet.until_more()
    # as docs/OPERATIONS.md says: gateways one after the other, then workers
    for _ in range(2):
        fleet.gateway(then)
        fleet.gateways.pop(0).stop()
        fleet.until_more()
    fleet.worker(then)
    fleet.workers.pop(0).stop()
    fleet.until_more()
    # and one that does not end by itself
    fleet.worker(then)
    fleet.workers.pop(0).kill()
    fleet.until_more()
    fleet.end()
    fleet.check()
    for server in fleet.gateways + fleet.workers:
        server.stop()


@needs_old
def test_a_job_outlives_the_worker_of_the_other_version(installation, hooks):
    """A worker of the version before is killed while it draws; one of this version draws anew, and the other way round."""
    for first, then in (("before", "now"), ("now", "before")):
        fleet = Fleet(installation, hooks)
        gateway = fleet.gateway("now")
        worker = fleet.worker(first, pause_ms=600_000)
        job = gateway.raw("POST", f"/queue/{MODEL}", json=card()).json()["request_id"]
        eventually("it runs", lambda job=job, gateway=gateway: status_of(gateway, job) == "IN_PROGRESS")
        other = fleet.worker(then, pause_ms=0)
        worker.kill()
        assert ended(gateway, job).status_code == 200
        other.stop()
        gateway.stop()


@needs_old
def test_a_step_back_after_work_in_this_version(installation, hooks):
    """One process: upgraded, at work, and back again. Everything is there in the version before."""
    jobs = []
    key = installation.key("both", OLD)
    headers = {"authorization": f"Key {key}"}
    for binary in (OLD, BINARY, OLD):
        server = installation.start(binary=binary)
        for job in jobs:
            assert ended(server, job, key).status_code == 200
        for number in range(5):
            sent = server.raw("POST", f"/queue/{MODEL}?fal_webhook={hooks.url}", json=card(f"star {number}"), headers=headers)
            jobs.append(sent.json()["request_id"])
        # the last ones may still wait when it stops
        server.stop()
    server = installation.start(binary=OLD)
    for job in jobs:
        [image] = ended(server, job, key).json()["images"]
        assert is_picture(server.raw("GET", path_of(image["url"])))
    eventually("all webhooks", lambda: {body["request_id"] for body in hooks.told} >= set(jobs))
