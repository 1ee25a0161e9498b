"""Pictures of jobs: drawn by one process, kept in the bucket, served by any other."""

import base64

from hooks import Hooks
from machines import MODEL, card, digest, ended, fetched, path_of, picture, submit
from place import eventually


def test_pictures_land_in_the_bucket_and_every_gateway_serves_them(machines):
    first, second = machines.gateway(), machines.gateway()
    machines.worker()
    jobs = [submit(first, card(f"star {n}", seed=n)) for n in range(8)]
    for job in jobs:
        by_first, by_second = ended(first, job), ended(second, job)
        url = by_first.json()["images"][0]["url"]
        kept = machines.bucket.of(url)
        assert kept.startswith(b"\x89PNG") or kept.startswith(b"\xff\xd8")
        # each gateway names itself, and gives out the bytes of the bucket
        assert url.startswith(first.url) and by_second.json()["images"][0]["url"].startswith(second.url)
        assert picture(by_first, first) == picture(by_second, second) == kept
        assert first.raw("GET", path_of(url)).headers["etag"] == second.raw("GET", path_of(url)).headers["etag"]
    assert len(machines.bucket.objects()) == len(jobs)
    # and nothing of it anywhere else
    assert machines.on_disk() == []


def test_direct_calls_and_pictures_inside_of_answers(machines):
    gateway = machines.gateway()
    machines.worker()
    answer = gateway.raw("POST", f"/run/{MODEL}", json=card())
    kept = picture(answer, gateway)
    assert machines.bucket.of(answer.json()["images"][0]["url"]) == kept
    inside = gateway.raw("POST", f"/run/{MODEL}", json=card(sync_mode=True)).json()["images"][0]["url"]
    assert base64.b64decode(inside.split(",")[1]) == kept


def test_pictures_that_come_with_a_call_are_read_from_the_bucket(machines):
    gateway = machines.gateway()
    machines.worker()
    given = picture(gateway.raw("POST", f"/run/{MODEL}", json=card("given")), gateway)
    before = set(machines.bucket.objects())
    model = "fal-ai/flux/dev/image-to-image"
    body = {**card("drawn from it", num_inference_steps=10), "image_url": f"data:image/png;base64,{base64.b64encode(given).decode()}"}
    del body["image_size"]
    job = submit(gateway, body, model)
    answer = ended(gateway, job, model)
    assert answer.status_code == 200, answer.text
    new = set(machines.bucket.objects()) - before
    contents = {digest(machines.bucket.of(f"/cdn/files/{key}")) for key in new}
    assert digest(given) in contents and len(contents) == 2


def test_webhooks_name_files_of_the_bucket(machines):
    hooks = Hooks()
    gateway = machines.gateway()
    machines.worker()
    job = submit(gateway, webhook=hooks.url)
    [told] = eventually("the webhook", lambda: hooks.of(job))
    url = told["payload"]["images"][0]["url"]
    assert fetched(url, gateway) == machines.bucket.of(url)
    hooks.close()
