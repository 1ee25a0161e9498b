"""Makes recorded/: an installation of the version before, of each kind, as a power cut leaves it with work in every state.

    SCUMBLE_OLD_BIN=…/scumble SCUMBLE_TEST_POSTGRES=postgres://… python clients/upgrades/record.py

The binary has to be that of the commit in before.txt; pg_dump has to be there. Run it when before.txt changes: at each release.
"""

import base64
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "shared"), str(HERE / "tests")]
from hooks import Hooks  # noqa: E402
from place import Place, eventually  # noqa: E402
from stores import MODEL, Installation, answer_of, authorized, card, ended, path_of, status_of, without_hosts  # noqa: E402

OLD = os.environ["SCUMBLE_OLD_BIN"]
RECORDED = HERE / "recorded"
SCHEMA = "the_recorded_schema"


class Recording:
    def __init__(self, kind):
        self.installation = Installation(Place(), kind)
        self.hooks = Hooks()
        self.key = self.installation.key("recorded", OLD)
        self.revoked = self.installation.key("revoked", OLD)
        self.installation.place.command("keys", "revoke", self.revoked.split(":")[0], *self.installation.where, binary=OLD)
        self.jobs, self.files = [], []

    def submit(self, server, state, body=None, webhook=None, model=MODEL, **headers):
        """Submits a job that will be left in this state."""
        query = f"?fal_webhook={self.hooks.url}" if webhook else ""
        answer = server.raw("POST", f"/queue/{model}{query}", json=body or card(), headers=authorized(self.key, **headers))
        assert answer.status_code == 200, answer.text
        job = {"id": answer.json()["request_id"], "state": state, "webhook": webhook}
        self.jobs.append(job)
        return job

    def note_end(self, server, job):
        """What a job's caller gets from now on, for ever."""
        answer = ended(server, job["id"], self.key)
        job.update(status=answer.status_code, body=without_hosts(answer.json()))
        for image in answer.json().get("images", []):
            self.note_file(server, path_of(image["url"]))

    def note_file(self, server, path):
        got = server.raw("GET", path, headers=authorized(self.key))
        assert got.status_code == 200, got.text
        unasked = server.raw("GET", path).status_code
        self.files.append({"path": path, "sha256": hashlib.sha256(got.content).hexdigest(), "without_key": unasked})

    def upload(self, server, body, lifecycle=None):
        headers = authorized(self.key, **({"x-fal-object-lifecycle": lifecycle} if lifecycle else {}))
        where = {"content_type": "image/png", "file_name": "given.png"}
        begun = server.raw("POST", "/rest/storage/upload/initiate?storage_type=fal-cdn-v3", json=where, headers=headers)
        assert begun.status_code == 200, begun.text
        sent = server.raw("PUT", begun.json()["upload_url"].removeprefix(server.url), content=body)
        assert sent.status_code == 200, sent.text
        self.note_file(server, path_of(begun.json()["file_url"]))

    def ended_work(self):
        """A server that does its work, but for webhooks that nobody takes."""
        server = self.installation.start(binary=OLD)
        told = self.submit(server, "done", card("told"), webhook="told")
        eventually("it is told", lambda: self.hooks.of(told["id"]))
        for job in (
            told,
            self.submit(server, "done", card("tagged"), **{"x-fal-tags": "team=a"}),
            self.submit(server, "failed", card("[fail 500]")),
            self.submit(server, "failed", {"prompt": 5}),
        ):
            self.note_end(server, job)
        direct = server.raw("POST", f"/run/{MODEL}", json=card("direct"), headers=authorized(self.key))
        self.jobs.append({"id": direct.headers["x-fal-request-id"], "state": "done", "webhook": None})
        self.note_end(server, self.jobs[-1])
        self.upload(server, b"everybody's")
        self.upload(server, b"nobody's", '{"initial_acl": {"default": "hide"}}')
        self.hooks.status = 503
        for prompt in ("untold", "untold [fail 500]"):
            job = self.submit(server, "done" if "fail" not in prompt else "failed", card(prompt), webhook="pending")
            self.note_end(server, job)
            needle = re.compile(f"webhook .*{job['id']}|{job['id']}.*webhook")
            eventually("its webhook has failed once", lambda needle=needle: needle.search(server.log))
        self.jwks = server.raw("GET", "/rest/.well-known/jwks.json").json()
        server.stop()

    def work_that_waits(self):
        """Jobs that no worker has seen, and one at work, when everything ends at once."""
        gateway = self.installation.start("gateway", OLD)
        running = self.submit(gateway, "running", card("running"), webhook="wanted")
        worker = self.installation.start("worker", OLD, pause_ms=600_000)
        eventually("it runs", lambda: status_of(gateway, running["id"], self.key) == "IN_PROGRESS")
        given = base64.b64encode(self.picture(gateway)).decode()
        for number in range(3):
            self.submit(gateway, "queued", card(f"queued {number}"), webhook="wanted" if number else None)
        self.submit(gateway, "queued", card("low"), **{"x-fal-queue-priority": "low"})
        self.word = {"word": "once", "body": card("said once")}
        self.word["id"] = self.submit(gateway, "queued", self.word["body"], **{"idempotency-key": "once"})["id"]
        given = {"prompt": "given", "num_inference_steps": 10, "image_url": f"data:image/jpeg;base64,{given}"}
        self.submit(gateway, "queued", given, model="fal-ai/flux/dev/image-to-image")
        cancelled = self.submit(gateway, "cancelled", card("cancelled"))
        answer = gateway.raw("PUT", f"/queue/fal-ai/flux/requests/{cancelled['id']}/cancel", headers=authorized(self.key))
        assert answer.status_code in (200, 202), answer.text
        self.note_end(gateway, cancelled)
        for job in self.jobs:
            if job["state"] in ("queued", "running"):
                assert answer_of(gateway, job["id"], self.key).status_code == 400
        assert sum(job["state"] == "running" for job in self.jobs) == 1
        worker.kill()
        gateway.kill()

    def picture(self, server):
        return server.raw("GET", self.files[0]["path"], headers=authorized(self.key)).content

    def write(self):
        kind = self.installation.kind
        about = {
            "commit": (HERE / "before.txt").read_text().strip(),
            "version": self.installation.place.command("--version", binary=OLD).split("\n")[0],
            "made_ms": int(time.time() * 1000),
            "receiver": self.hooks.url,
            "key": self.key,
            "revoked": self.revoked,
            "jwks": self.jwks,
            "jobs": self.jobs,
            "files": self.files,
            "word": self.word,
        }
        RECORDED.mkdir(exist_ok=True)
        (RECORDED / f"{kind}.json").write_text(json.dumps(about, indent=1) + "\n")
        (RECORDED / f"{kind}.tar.gz").write_bytes(packed(self.installation.place.data))
        if self.installation.schema:
            (RECORDED / "postgres.sql.gz").write_bytes(gzip.compress(self.dumped().encode(), mtime=0))

    def dumped(self):
        schema = self.installation.schema
        words = ["pg_dump", "--inserts", "--no-owner", "--no-privileges", f"--schema={schema.name}", schema.url.split("?")[0]]
        dump = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        # lines that begin so are for psql, not for the database
        lines = [line for line in dump.splitlines() if not line.startswith("\\")]
        return "\n".join(lines).replace(schema.name, SCHEMA) + "\n"

    def close(self):
        self.hooks.close()
        self.installation.close()


def packed(folder):
    """A folder as an archive that says nothing of who made it."""

    def nobodys(entry):
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    tape = io.BytesIO()
    with tarfile.open(fileobj=tape, mode="w") as archive:
        archive.add(folder, arcname=".", filter=nobodys)
    return gzip.compress(tape.getvalue(), mtime=0)


def main():
    commit = (HERE / "before.txt").read_text().strip()
    told = re.search(r"commit ([0-9a-f]+)", subprocess.run([OLD, "--version"], capture_output=True, text=True, check=True).stdout)
    # versions up to 0.1.0 do not tell theirs
    assert told is None or commit.startswith(told[1]), f"{OLD} is of commit {told[1]}, and before.txt names {commit}"
    for kind in ("sqlite", "postgres"):
        recording = Recording(kind)
        try:
            recording.ended_work()
            recording.work_that_waits()
            recording.write()
        finally:
            recording.close()
        sizes = {path.name: path.stat().st_size for path in RECORDED.glob(f"{kind}*")}
        print(f"{kind}: {len(recording.jobs)} jobs, {len(recording.files)} files; {sizes} bytes")


if __name__ == "__main__":
    main()
