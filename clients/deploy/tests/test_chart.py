"""The chart: rendered and linted by Helm's own code, its objects held against Kubernetes's schemas, and what its containers run
is run here. There is no cluster: what needs one, scheduling, scaling and probing, is not tried."""

import json
import signal
import subprocess
import time
from pathlib import Path

import helm_python as helm
import httpx
import kubernetes_validate
import pytest
import yaml
from box import Image
from place import BINARY, ROOT, eventually
from prometheus_client.parser import text_string_to_metric_families
from storage import Bucket, make_secrets

CHART = ROOT / "deploy/helm/scumble"
EVERYTHING = {
    "gateway": {"autoscaling": {"enabled": True}, "args": ["--connect"], "nodeSelector": {"kubernetes.io/os": "linux"}},
    "worker": {
        "autoscaling": {"enabled": True},
        "args": ["--preload", "scumble/starter"],
        "models": {"claim": "weights"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
    },
    "ingress": {"enabled": True, "tlsSecret": "images-tls"},
    "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "secret": {"more": {"HF_TOKEN": "hf-token", "BFL_API_KEY": "bfl"}},
    "storage": {"endpoint": "https://bucket.internal"},
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/images"}},
    "image": {"tag": "0.1.1", "pullSecrets": [{"name": "registry"}]},
    "env": [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4318"}],
}
# of operators, which have schemas of their own
FOREIGN = {"ScaledObject", "PodMonitor"}


def rendered(values=None, name="demo"):
    """All objects, by kind and name."""
    with helm.Chart.load(CHART) as chart:
        chart.validate_schema(values or {})
        files = chart.render(values or {}, name=name, namespace="images")
    objects = {}
    for path, text in files.items():
        if path.endswith(".yaml"):
            for each in filter(None, yaml.safe_load_all(text)):
                key = (each["kind"], each["metadata"]["name"])
                assert key not in objects, key
                objects[key] = each
    return objects


def containers(objects):
    """Pod and container of each deployment."""
    for (kind, _), each in objects.items():
        if kind == "Deployment":
            pod = each["spec"]["template"]["spec"]
            [container] = pod["containers"]
            yield each, pod, container


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["as it is", "everything"])
def test_helm_finds_nothing(values):
    found = helm.lint(CHART, values, strict=True)
    assert not found["errors"] and found["total_charts_linted"] == 1
    # an icon is a picture on somebody's server
    assert [message for message in found["messages"] if "icon" not in message["error"]] == []


@pytest.mark.parametrize("version", ["1.27", "1.34"])
@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["as it is", "everything"])
def test_kubernetes_knows_its_objects(values, version):
    objects = rendered(values)
    own = [each for (kind, _), each in objects.items() if kind not in FOREIGN]
    assert len(own) >= 6
    for each in own:
        kubernetes_validate.validate(each, version, strict=True)


def test_a_wrong_word_is_refused():
    for wrong in ({"gatway": {}}, {"worker": {"drainSecond": 1}}, {"storage": {"files": "/data"}}, {"secret": {"more": {"X": "y"}}}):
        with helm.Chart.load(CHART) as chart, pytest.raises(helm.HelmValuesError):
            chart.validate_schema(wrong)


def test_what_values_say_can_be_said():
    """The schema has a word for every value, and no others."""

    def words(values, schema, path=""):
        if schema.get("additionalProperties") is not False:
            return
        assert set(values) == set(schema["properties"]) - {"global", "claims"}, path
        for name, value in values.items():
            if isinstance(value, dict):
                words(value, schema["properties"][name], f"{path}.{name}")

    with helm.Chart.load(CHART) as chart:
        schema = chart.schema
        values = yaml.safe_load((CHART / "values.yaml").read_text())
        for part in ("gateway", "worker"):
            values[part]["resources"] = {"requests": {}, "limits": {}}
        words(values, schema)


def test_the_chart_runs_the_version_of_the_project():
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    manifest = (ROOT / "Cargo.toml").read_text()
    assert f'\nversion = "{version}"\n' in manifest


def test_parts_find_one_another():
    objects = rendered(EVERYTHING)
    for deployment, pod, container in containers(objects):
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        assert ("ServiceAccount", pod["serviceAccountName"]) in objects
        for volume in pod["volumes"]:
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in objects
        # with a scaler, the number is its own
        assert "replicas" not in deployment["spec"]
    gateways, workers = (each["spec"]["template"]["metadata"]["labels"] for each, _, _ in containers(objects))
    service = objects["Service", "demo-scumble"]["spec"]
    assert service["selector"].items() <= gateways.items() and not service["selector"].items() <= workers.items()
    backend = objects["Ingress", "demo-scumble"]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": "demo-scumble", "port": {"name": "http"}}
    monitor = objects["PodMonitor", "demo-scumble"]["spec"]["selector"]["matchLabels"]
    assert monitor.items() <= gateways.items() and monitor.items() <= workers.items()
    assert objects["ScaledObject", "demo-scumble-worker"]["spec"]["scaleTargetRef"]["name"] == "demo-scumble-worker"
    # a release that is called as the chart is
    assert ("Deployment", "scumble-gateway") in rendered(name="scumble")


def test_containers_are_the_image_s():
    image = Image()
    for _, pod, container in containers(rendered(EVERYTHING)):
        uid, gid = (int(number) for number in image.user.split(":"))
        assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]) == (uid, gid)
        assert [port["containerPort"] for port in container["ports"]][0] == int(image.of("EXPOSE")[-1].value[0])
        written = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert container["securityContext"]["readOnlyRootFilesystem"] and written <= {"/data", "/tmp", "/models"}


def test_there_is_time_to_drain():
    for deployment, pod, container in containers(rendered({"worker": {"drainSeconds": 77}, "gateway": {"drainSeconds": 33}})):
        grace = pod["terminationGracePeriodSeconds"]
        before = container["lifecycle"]["preStop"]["exec"]["command"]
        if deployment["metadata"]["name"].endswith("worker"):
            assert before[:2] == ["bash", "-c"] and before[2].endswith("sleep 77") and grace == 77 + 30
        else:
            assert before == ["sleep", "10"] and grace == 33 + 15


def variables(container, changes):
    """A container's environment, with what is elsewhere here."""
    found = {entry["name"]: entry["value"] for entry in container["env"]}
    for before, after in changes.items():
        assert any(value.startswith(before) for value in found.values()), before
        found = {
            name: f"{after}{value.removeprefix(before)}" if value.startswith(before) else value for name, value in found.items()
        }
    return found


def settings_of(objects, folder):
    """scumble.toml as it is mounted."""
    path = Path(folder) / "scumble.toml"
    path.write_text(objects["ConfigMap", "demo-scumble"]["data"]["scumble.toml"])
    return path


def test_variables_mean_something():
    known = (ROOT / "docs/SETTINGS.md").read_text()
    for _, _, container in containers(rendered(EVERYTHING)):
        for entry in container["env"]:
            name = entry["name"]
            assert f"`{name}`" in known, name


def test_gateway_and_worker_do_their_work_and_tell_the_scaler(place, database):
    secrets = make_secrets(place.folder)
    (secrets / "database-url").write_text(database.url)
    bucket = Bucket(place.folder, secrets)
    try:
        objects = rendered({"storage": {"endpoint": bucket.url}, "worker": {"autoscaling": {"enabled": True}}})
        changes = {
            "/etc/scumble/scumble.toml": settings_of(objects, place.folder),
            "/run/secrets/scumble/": f"{secrets}/",
            "0.0.0.0:9464": "127.0.0.1:0",
            "/data": place.data,
            "/models": place.folder / "models",
        }
        started = {}
        for _, _, container in containers(objects):
            serve, *flags = container["args"]
            assert serve == "serve"
            environment = variables(container, changes)
            del environment["SCUMBLE_LISTEN"]
            started[container["name"]] = (place.start(*flags, environment=environment), container)
        for server, container in started.values():
            for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
                assert container[probe]["httpGet"]["port"] == "http"
                # as a kubelet asks: by the pod's address
                answer = server.raw("GET", container[probe]["httpGet"]["path"], headers={"host": "10.1.2.3:8787"})
                assert answer.status_code == 200
        gateway, _ = started["gateway"]
        sent = gateway.raw("POST", "/queue/scumble/starter", json={"prompt": "a red star", "num_inference_steps": 2}).json()
        path = httpx.URL(sent["response_url"]).path
        eventually("the job ends", lambda: gateway.raw("GET", path).status_code == 200)

        # what the scaler asks for is there, under the labels that it asks by
        [trigger] = objects["ScaledObject", "demo-scumble-worker"]["spec"]["triggers"]
        query = trigger["metadata"]["query"]
        assert query == 'sum(max by (endpoint, state) (scumble_jobs{namespace="images",pod=~"demo-scumble-.*"}))'
        started["worker"][0].stop()
        # nobody works: these wait
        for _ in range(3):
            gateway.raw("POST", "/queue/scumble/starter", json={"prompt": "a red star"})

        def waiting():
            text = httpx.get(f"{gateway.metrics}/metrics").text
            families = {family.name: family for family in text_string_to_metric_families(text)}
            depth = {}
            for sample in families["scumble_jobs"].samples:
                assert set(sample.labels) == {"endpoint", "state"}
                key = (sample.labels["endpoint"], sample.labels["state"])
                depth[key] = max(depth.get(key, 0), sample.value)
            return sum(depth.values()) == 3

        eventually("the metric is the queue's depth", waiting)
    finally:
        bucket.close()


def hook_of_worker(seconds):
    objects = rendered({"worker": {"drainSeconds": seconds}})
    [(pod, container)] = [(pod, container) for _, pod, container in containers(objects) if container["name"] == "worker"]
    return container["lifecycle"]["preStop"]["exec"]["command"], pod["terminationGracePeriodSeconds"]


def begin(boxes):
    """A gateway and a worker in one box, for itself and so without keys."""
    box = boxes("serve", "--stand-in=600000", environment={"SCUMBLE_LISTEN": "127.0.0.1:8787"})
    eventually("it is healthy", lambda: box.inside(*box.image.health).returncode == 0)
    return box


def test_a_worker_whose_job_takes_longer_gives_it_back(boxes):
    """What Kubernetes does with a container: the hook, SIGTERM once that has returned, and SIGKILL when the grace is over."""
    hook, grace = hook_of_worker(2)
    box = begin(boxes)
    body = json.dumps({"prompt": "a red star"})
    request = f"POST /queue/fal-ai/flux/dev HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    sent = box.inside("bash", "-c", 'exec 3<>/dev/tcp/127.0.0.1/8787 && printf %s "$1" >&3 && cat <&3', "ask", request)
    job = json.loads(sent.stdout.split("\n\n")[1])["request_id"]

    def state():
        words = [str(box.program), "jobs", "show", job, "--json", "--data-dir", box.place("/data")]
        return json.loads(box.inside(*words).stdout)["state"]

    eventually("the job runs", lambda: state() == "running")
    began = time.monotonic()
    assert box.inside(*hook).returncode == 0
    # it drains, and the job goes on
    assert box.process.poll() is None and "draining" in box.err
    box.signal(signal.SIGTERM)
    assert box.ended(grace) == 0, box.err
    assert time.monotonic() - began < grace
    # not lost, and not counted as a crash
    listed = subprocess.run(
        [BINARY, "jobs", "show", job, "--json", "--data-dir", box.place("/data")], capture_output=True, text=True, check=True
    )
    assert json.loads(listed.stdout)["state"] == "queued", listed.stdout


def test_a_worker_without_jobs_does_not_wait(boxes):
    hook, grace = hook_of_worker(600)
    box = begin(boxes)
    began = time.monotonic()
    # it ends with its box
    box.inside(*hook)
    assert box.ended() == 0, box.err
    assert time.monotonic() - began < 60 < grace
