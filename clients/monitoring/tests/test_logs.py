"""With `--log-format json` every line on stderr is one object, from the first to the last."""

import json
import subprocess

from place import BINARY, eventually

MODEL = "fal-ai/flux/schnell"
INPUT = {"prompt": "a star", "num_inference_steps": 1, "image_size": {"width": 64, "height": 64}}


def objects(text):
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        assert {"timestamp", "level", "target", "message"} <= line.keys(), line
        assert line["level"] in ("ERROR", "WARN", "INFO", "DEBUG", "TRACE") and isinstance(line["message"], str), line
    return lines


def test_every_line_is_an_object_and_every_job_is_named(place):
    server = place.start("--stand-in=1", "--log-format", "json")
    ids = []
    for body in (INPUT, {"prompt": 5}):
        ids.append(server.raw("POST", f"/queue/{MODEL}", json=body).json()["request_id"])
    direct = server.raw("POST", f"/run/{MODEL}", json=INPUT)
    ids.append(direct.headers["x-fal-request-id"])

    def named():
        lines = objects(server.log)
        return lines if all(any(line.get("job.id") == id for line in lines) for id in ids) else None

    lines = eventually("every job is named", named)
    finished = next(line for line in lines if line["message"] == "job finished" and line["job.id"] == ids[0])
    assert finished["endpoint.id"] == MODEL and finished["status"] == 200 and finished["target"].startswith("scumble")
    server.stop()
    assert objects(server.log)[-1]["message"] == "stopped"


def test_what_callers_send_stays_in_its_line(place):
    server = place.start("--stand-in", "--log-format", "json")
    hostile = "a\n{\"level\":\"INFO\"}\u202e\x1b[31m\u2028\x00"
    server.raw("POST", f"/queue/{MODEL}", json={**INPUT, "prompt": hostile, "nothing\n": hostile})
    server.raw("POST", f"/queue/{MODEL}", json={**INPUT, "prompt": [hostile]})
    server.raw("GET", "/run/evil%0A%7B%22level%22%7D")
    eventually("a job has ended", lambda: any(line["message"] == "job finished" for line in objects(server.log)))
    assert "\x1b" not in server.log and "\u202e" not in server.log


def refused(place, *words, environment=None, code):
    environment = {**place.environment(), **(environment or {})}
    ended = subprocess.run([BINARY, *words], env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == code, ended.stderr
    return objects(ended.stderr)


def test_why_it_does_not_start_is_an_object_too(place):
    data = ["--data-dir", str(place.data)]
    json_flag, json_variable = ["--log-format", "json"], {"SCUMBLE_LOG_FORMAT": "json"}
    [line] = refused(place, "serve", *json_flag, "--listen", "nowhere", code=2)
    assert line["level"] == "ERROR" and "nowhere" in line["message"] and not line["message"].startswith("error")
    [line] = refused(place, "serve", "--listne", "1", environment=json_variable, code=2)
    assert "--listne" in line["message"]
    config = place.folder / "wrong.toml"
    config.write_text("[log]\nformat = \"json\"\n[server]\nlisen = 1\n")
    [line] = refused(place, "serve", *data, "--config", str(config), code=2)
    assert "lisen" in line["message"]
    config.write_text("[log]\nformat = \"json\"\n[server\n")
    [line] = refused(place, "serve", *data, "--config", str(config), code=2)
    assert str(config) in line["message"]
    server = place.start("--stand-in")
    lines = refused(place, "serve", *data, *json_flag, "--listen", server.address, code=4)
    assert any("is in use" in line["message"] for line in lines)
    # a password on the command line gets a warning, before there is a log
    lines = refused(place, "serve", *data, *json_flag, "--database", "postgres://me:word@127.0.0.1:1/none", code=4)
    assert lines[0]["level"] == "WARN" and all("word@" not in line["message"] for line in lines)


def test_text_stays_text(place):
    server = place.start("--stand-in", settings="[log]\nformat = \"text\"\n")
    server.raw("POST", f"/run/{MODEL}", json=INPUT)
    eventually("the job is told of", lambda: "job finished" in server.log)
    assert not any(line.startswith("{") for line in server.log.splitlines())
