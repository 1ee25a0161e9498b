"""Prometheus's own parser reads what a server counts, and its dashboard and alerts read nothing else."""

import json
import re
from pathlib import Path

import httpx
import yaml
from place import eventually
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).resolve().parents[3]
MODEL = "fal-ai/flux/schnell"
INPUT = {"prompt": "a star", "num_inference_steps": 1, "image_size": {"width": 64, "height": 64}}


def families(url, **more):
    answer = httpx.get(f"{url}/metrics", timeout=30, **more)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def number(found, name, **labels):
    """A sample that has to be there."""
    for family in found.values():
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    raise AssertionError(f"{name} {labels} is missing")


def test_a_job_is_counted_from_its_submit_to_its_end(place):
    server = place.start("--stand-in")
    for _ in range(3):
        answer = server.raw("POST", f"/run/{MODEL}", json=INPUT)
        assert answer.status_code == 200
    submitted = server.raw("POST", f"/queue/{MODEL}", json={"prompt": 5}).json()
    assert server.raw("GET", submitted["response_url"].removeprefix(server.url)).status_code == 422

    def counted():
        found = families(server.url)
        return found if number(found, "scumble_jobs_ended_total", endpoint=MODEL, state="done") == 3 else None

    found = eventually("all ends are counted", counted)
    assert number(found, "scumble_jobs_accepted_total", endpoint=MODEL) == 4
    assert number(found, "scumble_jobs_ended_total", endpoint=MODEL, state="failed") == 1
    assert number(found, "scumble_job_wait_seconds_count", endpoint=MODEL) == 3
    assert number(found, "scumble_job_run_seconds_count", endpoint=MODEL) == 3
    assert number(found, "scumble_store_up") == 1
    assert number(found, "scumble_build_info", role="all", version=version(found)) == 1
    # counters and histograms are understood as such
    kinds = {name: family.type for name, family in found.items()}
    assert kinds["scumble_jobs_accepted"] == "counter"
    assert kinds["scumble_store_commit_seconds"] == "histogram"
    assert kinds["scumble_connections"] == "gauge"
    assert "unknown" not in kinds.values()
    assert all(family.documentation for family in found.values())


def version(found):
    return found["scumble_build_info"].samples[0].labels["version"]


def test_buckets_add_up(place):
    server = place.start("--stand-in")
    server.raw("POST", f"/queue/{MODEL}", json=INPUT)
    found = families(server.url)
    histograms = [family for family in found.values() if family.type == "histogram"]
    assert histograms
    for family in histograms:
        rows = {}
        for sample in family.samples:
            key = tuple(sorted((name, text) for name, text in sample.labels.items() if name != "le"))
            rows.setdefault(key, []).append(sample)
        for samples in rows.values():
            buckets = [sample.value for sample in samples if sample.name.endswith("_bucket")]
            count = next(sample.value for sample in samples if sample.name.endswith("_count"))
            assert buckets == sorted(buckets) and buckets[-1] == count, family.name


def test_gateway_and_worker_have_their_own(place):
    gateway = place.start("--role", "gateway")
    worker = place.start("--role", "worker", "--stand-in", listens=False, settings='[metrics]\nlisten = "127.0.0.1:0"\n')
    assert gateway.raw("POST", f"/run/{MODEL}", json=INPUT).status_code == 200
    of_gateway = families(gateway.url)

    def ended():
        found = families(worker.metrics)
        return found if number(found, "scumble_jobs_ended_total", endpoint=MODEL, state="done") == 1 else None

    of_worker = eventually("the worker counts the end", ended)
    assert number(of_gateway, "scumble_jobs_accepted_total", endpoint=MODEL) == 1
    assert number(of_gateway, "scumble_jobs_ended_total", endpoint=MODEL, state="done") == 0
    assert number(of_worker, "scumble_jobs_accepted_total", endpoint=MODEL) == 0
    assert number(of_worker, "scumble_worker_slots", kind="near") == 1
    assert number(of_worker, "scumble_build_info", role="worker", version=version(of_worker)) == 1


def test_with_keys_a_key_reads_them(place):
    server = place.start("--stand-in")
    key = place.key()

    def closed():
        return httpx.get(f"{server.url}/metrics").status_code == 401

    eventually("the server knows of the key", closed)
    assert families(server.url, headers={"authorization": f"Key {key}"})


def names_in(text):
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bscumble_[a-z0-9_]+", text)}


def test_dashboard_and_alerts_read_what_a_server_shows(place):
    server = place.start("--stand-in")
    server.raw("POST", f"/run/{MODEL}", json=INPUT)
    shown = httpx.get(f"{server.url}/metrics").text
    # a help text is there for everything that has a series by now, and the document has the rest
    listed = set(re.findall(r"^\| `(scumble_\w+)`", (ROOT / "docs/MONITORING.md").read_text(), re.MULTILINE))
    assert set(re.findall(r"^# TYPE (scumble_\w+)", shown, re.MULTILINE)) <= listed
    dashboard = json.loads((ROOT / "deploy/grafana/scumble.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(expressions) > 30
    alerts = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
    rules = [rule for group in alerts["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) > 8
    for rule in rules:
        assert rule["annotations"]["summary"] and rule["labels"]["severity"] in ("page", "ticket")
    for text in expressions + [rule["expr"] for rule in rules]:
        assert names_in(text) <= listed, text
        for open_sign, close_sign in ("()", "[]", "{}"):
            assert text.count(open_sign) == text.count(close_sign), text
