"""What has an end goes from the bucket, and what has none stays."""

import httpx
import pytest
from bucket import S3
from machines import Machines, card, ended, picture, submit
from place import eventually
from uploading import MIB, begun, content, part_of, sent, uploaded


def test_expired_files_are_gone_from_the_bucket(machines):
    gateway = machines.gateway()
    lifecycle = '{"expiration_duration_seconds": 1}'
    going = uploaded(gateway, content(9 * MIB), lifecycle=lifecycle)
    staying = uploaded(gateway, content(9 * MIB))
    # nobody gets it from then on, whether or not its bytes are still there
    eventually("it has expired", lambda: gateway.raw("GET", going).status_code == 404)
    assert machines.bucket.of(going)
    worker = machines.worker()  # cleans up when it starts, and every minute
    left = [staying.removeprefix("/cdn/files/")]
    eventually("its bytes are gone", lambda: list(machines.bucket.objects()) == left)
    eventually("it is said", lambda: "expired files removed" in worker.log)
    assert gateway.raw("GET", staying).status_code == 200


def test_pictures_go_with_their_jobs(machines):
    gateway = machines.gateway()
    worker = machines.worker()
    jobs = [submit(gateway, card(f"star {n}")) for n in range(3)]
    for job in jobs:
        picture(ended(gateway, job), gateway)
    worker.stop()
    assert len(machines.bucket.objects()) == 3
    machines.worker(settings="[retention]\nresults_s = 0.1\n")

    def gone():
        return machines.bucket.objects() == {}

    # a second round may be needed for jobs that were too young in the first
    eventually("their pictures are gone", gone, deadline_s=150)
    for job in jobs:
        assert gateway.raw("GET", f"/queue/fal-ai/flux/requests/{job}").status_code == 404


@pytest.fixture
def two_days_ago(tmp_path):
    """A server that dates what it takes two days back."""
    s3 = S3(tmp_path, days_ago=2)
    yield s3
    s3.close()


def test_parts_that_nobody_completed_go_after_a_day(schema, place, two_days_ago):
    bucket = two_days_ago.bucket()
    machines = Machines(place, schema, bucket)
    gateway = machines.gateway()
    whole = uploaded(gateway, content(9 * MIB))
    upload, _ = begun(gateway, "initiate-multipart")
    for number in (1, 2):
        assert sent(gateway, part_of(upload, number), content(MIB)).status_code == 200
    # what is not of this program is not touched, however old
    bucket.put("notes/mine.txt", b"mine")
    assert sum(key.startswith("parts/") for key in bucket.objects()) == 2
    worker = machines.worker()
    eventually("the parts are gone", lambda: not any(key.startswith("parts/") for key in bucket.objects()))
    eventually("it is said", lambda: "abandoned uploads removed" in worker.log)
    assert set(bucket.objects()) == {whole.removeprefix("/cdn/files/"), "notes/mine.txt"}


def test_parts_of_today_stay(machines):
    gateway = machines.gateway()
    upload, _ = begun(gateway, "initiate-multipart")
    etag = sent(gateway, part_of(upload, 1), content(MIB)).json()["etag"]
    expiring = uploaded(gateway, content(MIB), lifecycle='{"expiration_duration_seconds": 1}')
    eventually("it has expired", lambda: gateway.raw("GET", expiring).status_code == 404)
    worker = machines.worker()
    # parts are looked at after expired files, in the same round; a second worker has made its round when its job is done
    eventually("the round has begun", lambda: "expired files removed" in worker.log)
    assert ended(gateway, submit(gateway)).status_code == 200
    worker.stop()
    path, query = upload.split("?")
    done = httpx.post(f"{gateway.url}{path}/complete?{query}", json={"parts": [{"partNumber": 1, "etag": etag}]}, timeout=60)
    assert done.status_code == 200, done.text
