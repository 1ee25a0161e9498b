"""An installation of the version before, recorded as a power cut left it, goes on in this version; nothing is lost."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
from place import BINARY, eventually
from recording import Recording
from stores import MODEL, answer_of, authorized, card, ended, is_picture, path_of, without_hosts

HERE = Path(__file__).resolve().parents[1]


@pytest.fixture
def recording(installation, hooks):
    return Recording(installation, hooks)


def test_everything_that_was_acknowledged_is_there_and_ends(recording, installation, hooks):
    server = installation.start()
    # what had ended gives what it gave
    for job in recording.of("done", "failed", "cancelled"):
        answer = answer_of(server, job["id"], recording.key)
        assert (answer.status_code, without_hosts(answer.json())) == (job["status"], job["body"]), job
    # what waited or was at work ends now
    waiting = recording.of("queued", "running")
    assert len(waiting) >= 7
    for job in waiting:
        answer = ended(server, job["id"], recording.key)
        assert answer.status_code == 200, (job, answer.text)
        [image] = answer.json()["images"]
        assert is_picture(server.raw("GET", path_of(image["url"]), headers=authorized(recording.key)))
    # and who has not been told yet is told
    untold = {job["id"] for job in recording.jobs if job["webhook"] in ("pending", "wanted")}
    assert len(untold) >= 5
    eventually("all are told", lambda: {body["request_id"] for body in hooks.told} >= untold)
    states = {job["id"]: job["state"] for job in recording.jobs}
    for body in hooks.told:
        assert body["request_id"] in untold  # nobody twice who has said yes to the version before
        assert body["status"] == ("ERROR" if states[body["request_id"]] == "failed" else "OK"), body
    server.stop()


def test_files_and_keys_are_what_they_were(recording, installation):
    server = installation.start()
    assert {one["without_key"] for one in recording.files} == {200, 404}
    for one in recording.files:
        got = server.raw("GET", one["path"], headers=authorized(recording.key))
        assert hashlib.sha256(got.content).hexdigest() == one["sha256"], one
        assert server.raw("GET", one["path"]).status_code == one["without_key"], one
    job = recording.jobs[0]["id"]
    for key, status in ((recording.key, 200), (recording.revoked, 401), (None, 401), (recording.key + "x", 401)):
        assert answer_of(server, job, key).status_code == status
    # those who kept the public keys of webhooks need not fetch them again
    assert server.raw("GET", "/rest/.well-known/jwks.json").json() == recording.jwks


def test_callers_go_on(recording, installation):
    server = installation.start()
    # who was not sure whether the submit had arrived sends it again
    word = recording.word
    headers = authorized(recording.key, **{"idempotency-key": word["word"]})
    again = server.raw("POST", f"/queue/{MODEL}", json=word["body"], headers=headers)
    assert again.json()["request_id"] == word["id"]
    other = server.raw("POST", f"/queue/{MODEL}", json=card("another"), headers=headers)
    assert other.status_code == 422 and "idempotency_key_reused" in other.text
    new = server.raw("POST", f"/run/{MODEL}", json=card("new"), headers=authorized(recording.key))
    assert new.status_code == 200, new.text


def test_a_look_before_the_upgrade_finds_nothing_wrong(recording, installation):
    """Step 2 of "Upgrading" in docs/OPERATIONS.md."""
    files = ["--files", str(installation.place.data / "files")]
    looked = installation.place.command("doctor", *installation.where, *files, "--stand-in")
    assert f"{len(recording.of('queued', 'running'))} jobs waiting or running" in looked
    if installation.kind == "sqlite":
        installation.place.command("doctor", "--data", *installation.where)


def test_a_database_that_is_too_new_is_refused_untouched(recording, installation):
    def rows():
        return [recording.run(f"SELECT * FROM {table} ORDER BY 1") for table in ("schema_version", "jobs", "keys")]

    [(version,)] = recording.run("SELECT max(version) FROM schema_version")
    recording.run(f"INSERT INTO schema_version (version, applied_ms) VALUES ({version + 1}, 1)")
    before = rows()
    for words in (["serve", "--listen", "127.0.0.1:0"], ["doctor"], ["keys", "list"]):
        refused = installation.place.ended(*words, *installation.where)
        said = refused.stdout + refused.stderr
        assert refused.returncode not in (0, 101) and str(version + 1) in said and "newer" in said, said
    assert rows() == before
    assert not installation.place.servers


def test_the_recording_is_of_the_commit_before(recording):
    commit = (HERE / "before.txt").read_text().strip()
    about = json.loads((HERE / f"recorded/{recording.installation.kind}.json").read_text())
    assert about["commit"] == commit, "make the recording anew: clients/upgrades/record.py"
    # where the history is at hand, it has that commit
    history = subprocess.run(["git", "rev-list", "-1", commit, "--"], cwd=HERE, capture_output=True, text=True)
    shallow = subprocess.run(["git", "rev-parse", "--is-shallow-repository"], cwd=HERE, capture_output=True, text=True)
    if shallow.stdout.strip() == "false":
        assert history.stdout.strip() == commit
    assert Path(BINARY).exists()
