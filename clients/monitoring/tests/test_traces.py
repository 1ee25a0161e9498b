"""One trace for a job, from its submit to its webhook, whichever processes have to do with it."""

import socket
import time

import pytest
from collector import Collector
from place import eventually
from receiver import Receiver

MODEL = "scumble/starter"
INPUT = {"prompt": "a red star", "num_inference_steps": 2, "image_size": {"width": 64, "height": 64}, "seed": 1}
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HOOKS = "[webhooks]\nallow_private = true\n"


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


def traced(collector, **more):
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50", **more}


def submit(server, receiver=None, **headers):
    query = f"?fal_webhook={receiver.url}" if receiver else ""
    answer = server.raw("POST", f"/queue/{MODEL}{query}", json=INPUT, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_gateway_and_worker_write_one_trace(place, collector, receiver):
    more = traced(collector, OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test")
    gateway = place.start("--role", "gateway", settings=HOOKS, environment=more)
    place.start("--role", "worker", listens=False, settings=HOOKS, environment=more)
    job = submit(gateway, receiver, traceparent=f"00-{TRACE}-{PARENT}-01")["request_id"]
    [webhook] = eventually("the webhook's span", lambda: collector.named("webhook", job__id=job))
    [run] = eventually("the run's span", lambda: collector.named("run", job__id=job))
    [sent] = collector.named("submit", job__id=job)
    assert not collector.problems
    # one trace: the caller's
    assert {span.trace for span in collector.spans} == {TRACE}
    assert sent.parent == PARENT and run.parent == sent.id and webhook.parent == sent.id
    # from two processes
    assert (sent.resource["scumble.role"], run.resource["scumble.role"]) == ("gateway", "worker")
    assert {span.resource["service.name"] for span in collector.spans} == {"scumble"}
    assert run.resource["deployment.environment.name"] == "test"
    # what the run did, within its time
    for stage in ("load", "text_encode", "denoise", "decode", "save", "finish"):
        [span] = collector.named(stage)
        assert span.parent == run.id and run.begin <= span.begin <= span.end <= run.end, stage
    wanted = {"endpoint.id": MODEL, "http.response.status_code": 200, "attempt": 1, "ending": "finished"}
    assert wanted.items() <= run.attributes.items()
    # and who was told knows which attempt it was
    assert receiver.headers[0]["traceparent"] == f"00-{TRACE}-{webhook.id}-01"
    path, headers = collector.requests[0]
    assert path == "/v1/traces" and headers["content-type"] == "application/x-protobuf"


def test_without_a_callers_trace_a_new_one_begins(place, collector, receiver):
    server = place.start(settings=HOOKS, environment=traced(collector, OTEL_SERVICE_NAME="images"))
    first, second = (submit(server, receiver)["request_id"] for _ in range(2))
    eventually("both webhooks", lambda: len(collector.named("webhook")) == 2)
    traces = []
    for job in (first, second):
        [sent], [run] = collector.named("submit", job__id=job), collector.named("run", job__id=job)
        assert sent.parent == "" and sent.trace == run.trace and sent.resource["service.name"] == "images"
        traces.append(sent.trace)
    assert traces[0] != traces[1]


@pytest.mark.parametrize("header", ["00-x", f"00-{TRACE.upper()}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01", "x" * 5000])
def test_what_is_no_trace_is_not_taken(place, collector, receiver, header):
    server = place.start(settings=HOOKS, environment=traced(collector))
    job = submit(server, receiver, traceparent=header)["request_id"]
    [webhook] = eventually("the webhook's span", lambda: collector.named("webhook", job__id=job))
    [sent] = collector.named("submit", job__id=job)
    assert sent.parent == "" and sent.trace != TRACE and sent.trace == webhook.trace


def test_a_caller_who_does_not_record_is_not_recorded(place, collector, receiver):
    server = place.start(settings=HOOKS, environment=traced(collector))
    submit(server, receiver, traceparent=f"00-{TRACE}-{PARENT}-00")
    eventually("the webhook", lambda: receiver.headers)
    assert receiver.headers[0]["traceparent"].startswith(f"00-{TRACE}-") and receiver.headers[0]["traceparent"].endswith("-00")
    server.stop()
    assert collector.spans == []


def test_without_a_collector_the_callers_trace_goes_through(place, receiver):
    server = place.start(settings=HOOKS)
    submit(server, receiver, traceparent=f"00-{TRACE}-{PARENT}-01")
    submit(server, receiver)
    eventually("the webhooks", lambda: len(receiver.headers) == 2)
    named = sorted(headers.get("traceparent", "") for headers in receiver.headers)
    assert named == ["", f"00-{TRACE}-{PARENT}-01"]


def test_a_collector_that_is_away_holds_nobody_up(place, collector):
    collector.away = True
    server = place.start(settings=HOOKS, environment=traced(collector, OTEL_EXPORTER_OTLP_TIMEOUT="1000"))
    began = time.monotonic()
    for _ in range(5):
        assert server.raw("POST", f"/run/{MODEL}", json=INPUT).status_code == 200
    assert time.monotonic() - began < 30
    eventually("it is said once", lambda: server.log.count("traces are not exported") == 1)
    collector.away = False

    def back():
        server.raw("POST", f"/run/{MODEL}", json=INPUT)
        return collector.named("run")

    eventually("spans come again", back)
    assert server.log.count("traces are not exported") == 1 and "traces are exported again" in server.log


def test_a_collector_that_hangs_does_not_keep_the_server_from_stopping(place):
    # it takes connections and says nothing
    silent = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{silent.getsockname()[1]}"
    more = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    server = place.start(environment=more)
    assert server.raw("POST", f"/run/{MODEL}", json=INPUT).status_code == 200
    silent.settimeout(30)
    connection, _ = silent.accept()  # a request is on its way
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 20
    connection.close()
    silent.close()


def test_the_last_spans_are_sent_when_the_server_stops(place, collector):
    server = place.start(environment=traced(collector, OTEL_BSP_SCHEDULE_DELAY="60000"))
    job = server.raw("POST", f"/run/{MODEL}", json=INPUT).headers["x-fal-request-id"]
    server.stop()
    [run] = collector.named("run", job__id=job)
    [sent] = collector.named("submit", job__id=job)
    assert run.parent == sent.id


def test_a_word_that_cannot_be_followed_is_refused(place, collector):
    with pytest.raises(AssertionError, match="http/protobuf"):
        place.start(environment=traced(collector, OTEL_EXPORTER_OTLP_PROTOCOL="grpc"))
