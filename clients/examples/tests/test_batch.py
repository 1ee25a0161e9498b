"""A batch from a CSV file: every row once, whatever happens on the way."""

import csv
import json
import re
import shutil
import subprocess

import pytest
from conftest import again
from pictures import size
from place import BINARY, eventually

MODEL = "fal-ai/flux/schnell"
MORE = "num_inference_steps,image_size"
COMMON = "1,square"


@pytest.fixture
def batch(place, start, language):
    """Starts the example on these lines, in a folder for its results."""
    rows, out = place.folder / "rows.csv", place.folder / "kept" / "here" / "out"

    def batch(server, lines, *flags, header="id,prompt", **environment):
        rows.write_text(header + "\n" + lines, encoding="utf-8")
        program = "batch.py" if language == "python" else "batch.js"
        environment = {"SCUMBLE_URL": server.url, "ENDPOINT": MODEL, "FAL_KEY": place.own_key, **environment}
        return start("batch", [program, rows, out, *flags], **environment)

    place.out, place.own_key = out, "none"
    return batch


def results(place):
    with open(place.out / "results.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def jobs(place):
    words = [BINARY, "jobs", "list", "--json", "--limit", "200", "--data-dir", str(place.data)]
    listed = subprocess.run(words, env=place.environment(), capture_output=True, text=True, check=True)
    return json.loads(listed.stdout)


def many(count):
    return "".join(f"row-{number},a star number {number}\n" for number in range(count))


def test_every_row_gets_its_picture_in_order_and_no_more_at_once(place, batch):
    place.own_key = place.key()
    server = place.start("--stand-in=500")
    program = batch(server, many(7), "--at-once", "2")
    most = 0
    while program.runs:
        most = max(most, sum(job["state"] in ("queued", "leased", "running") for job in jobs(place)))
    assert program.ended() == 0, program.said
    assert most == 2, "some rows at once, and no more than that"
    found = results(place)
    assert [line["id"] for line in found] == [f"row-{number}" for number in range(7)]
    assert {line["status"] for line in found} == {"done"}
    assert [line["file"] for line in found] == [f"pictures/row-{number}.png" for number in range(7)]
    for line in found:
        assert size((place.out / line["file"]).read_bytes())[0] > 0
    assert "7 done, 0 not" in program.said
    assert {job["id"] for job in jobs(place)} == {line["request_id"] for line in found}


def test_further_columns_are_fields_of_the_endpoint(place, batch):
    server = place.start("--stand-in=0")
    header = "id,prompt,seed,image_size,enable_safety_checker"
    program = batch(server, 'a,"a star, small",7,landscape_4_3,false\nb,a star,,square,\n', header=header)
    assert program.ended() == 0, program.said
    inputs = {}
    for line in results(place):
        shown = server.raw("GET", f"/queue/fal-ai/flux/requests/{line['request_id']}").json()
        inputs[line["id"]] = (shown["seed"], shown["prompt"])
        assert size((place.out / line["file"]).read_bytes()) == {"a": (1024, 768), "b": (512, 512)}[line["id"]]
    assert inputs["a"] == (7, "a star, small")


def test_a_bad_row_keeps_nobody_else_from_being_drawn(place, batch):
    server = place.start("--stand-in=0")
    lines = (
        "good,a star,1\n"
        "empty,,1\n"
        "short,a star\n"
        "long,a star,1,more,and more\n"
        "good,the same id,1\n"
        "seedless,a star,red\n"
        ",no id,2\n"
        "=cmd|' /C calc'!A0,a star,3\n"
        'also good,"two\nlines",4\n'
        'never ends,"a star,5\nlost,a star,6\n'
    )
    program = batch(server, lines, header="id,prompt,seed")
    assert program.ended() == 1, program.said
    found = {line["id"]: line for line in results(place)}
    drawn = {"good", "line 8", "=cmd|' /C calc'!A0", "also good"}
    assert {id for id, line in found.items() if line["status"] == "done"} == drawn, program.said
    assert "empty" in found["empty"]["error"]
    assert "columns" in found["short"]["error"] and "columns" in found["long"]["error"]
    assert "another row" in found["good (line 6)"]["error"]
    assert re.match(r"422: seed: ", found["seedless"]["error"]), found["seedless"]
    [broken] = [line for line in found.values() if "cannot be read" in line["error"]]
    assert broken["request_id"] == ""
    before = {id: (place.out / found[id]["file"]).stat().st_mtime_ns for id in drawn}
    count = len(jobs(place))
    # mended, it goes on: what is done stays, and what failed is tried anew
    mended = lines.replace("empty,,1", "empty,a moon,1").replace("seedless,a star,red", "seedless,a star,9")
    program = batch(server, mended, header="id,prompt,seed")
    assert program.ended() == 1
    found = {line["id"]: line for line in results(place)}
    assert found["empty"]["status"] == found["seedless"]["status"] == "done"
    assert {id: (place.out / found[id]["file"]).stat().st_mtime_ns for id in drawn} == before
    assert len(jobs(place)) == count + 2


def test_after_a_power_cut_no_row_is_made_twice(place, batch):
    server = place.start("--stand-in=400")
    program = batch(server, many(8), "--at-once", "3")
    eventually("a row is done", lambda: (place.out / "results.csv").exists() and results(place))
    eventually("others are at work", lambda: len(jobs(place)) > len(results(place)))
    program.kill()
    done = {line["id"]: line["request_id"] for line in results(place)}
    assert 0 < len(done) < 8
    program = batch(server, many(8), "--at-once", "3")
    assert program.ended() == 0, program.said
    found = results(place)
    assert len(found) == 8 and {line["status"] for line in found} == {"done"}
    assert done.items() <= {line["id"]: line["request_id"] for line in found}.items()
    assert len(jobs(place)) == 8, "requests at work were found again"
    assert not list(place.out.rglob("*.part"))


def test_a_server_that_goes_away_is_waited_for(place, batch):
    server = place.start("--stand-in=400")
    program = batch(server, many(6), "--at-once", "2")
    eventually("a row is done", lambda: (place.out / "results.csv").exists() and results(place))
    server.kill()
    again(place, server, "--stand-in=50")
    assert program.ended() == 0, program.said
    assert [line["status"] for line in results(place)] == ["done"] * 6
    assert len(jobs(place)) == 6


def test_a_server_that_stays_away_leaves_rows_unfinished_and_they_are_found_again(place, batch):
    server = place.start("--stand-in=60000")
    # patience for the row, not for the server: one row is submitted and does not end
    program = batch(server, many(1), ROW_S=3)
    assert program.ended() == 1
    [line] = results(place)
    assert line["status"] == "unfinished" and "3 s" in line["error"], line
    server.kill()
    server = again(place, server, "--stand-in=0")
    program = batch(server, many(1))
    assert program.ended() == 0, program.said
    [line] = results(place)
    assert line["status"] == "done" and [job["id"] for job in jobs(place)] == [line["request_id"]]


def test_changed_rows_and_lost_pictures(place, batch):
    server = place.start("--stand-in=0")
    assert batch(server, many(3)).ended() == 0
    first = {line["id"]: line for line in results(place)}
    (place.out / first["row-1"]["file"]).unlink()
    program = batch(server, many(3).replace("number 2", "number two"))
    assert program.ended() == 0, program.said
    second = {line["id"]: line for line in results(place)}
    assert second["row-0"] == first["row-0"]
    assert second["row-1"]["request_id"] == first["row-1"]["request_id"], "it was made already, and is fetched again"
    assert (place.out / second["row-1"]["file"]).exists()
    assert second["row-2"]["request_id"] != first["row-2"]["request_id"], "it is another picture now"
    assert len(jobs(place)) == 4


def test_a_picture_that_the_server_has_no_more_is_made_anew_the_next_time(place, batch):
    server = place.start("--stand-in=0")
    assert batch(server, many(1)).ended() == 0
    [first] = results(place)
    (place.out / first["file"]).unlink()
    server.stop()
    # the spool, too, from which lost files would come back
    shutil.rmtree(place.data / "files")
    server = again(place, server, "--stand-in=0")
    program = batch(server, many(1))
    assert program.ended() == 1
    [lost] = results(place)
    assert lost["status"] == "error" and "not there any more" in lost["error"], lost
    assert batch(server, many(1)).ended() == 0
    [made] = results(place)
    assert made["request_id"] != first["request_id"] and (place.out / made["file"]).exists()


def test_ids_are_no_paths(place, batch):
    server = place.start("--stand-in=0")
    ids = ["../../evil", "/no-such-folder/evil", "a/b", "a-b", "..", "x" * 300, "é", "CON", "~", "."]
    program = batch(server, "".join(f"{id},a star\n" for id in ids))
    assert program.ended() == 0, program.said
    files = [line["file"] for line in results(place)]
    assert len({file.lower() for file in files}) == len(ids)
    for file in files:
        assert re.fullmatch(r"pictures/[A-Za-z0-9_-]{1,80}\.png", file), file
    there = {path.name for path in (place.out / "pictures").iterdir()}
    assert there == {file.removeprefix("pictures/") for file in files}
    assert not [path for path in place.folder.rglob("evil*") if path.parent.name != "pictures"]


def test_a_file_that_is_none_is_said(place, batch):
    server = place.start("--stand-in=0")
    program = batch(server, "1,2\n", header="number,words")
    assert program.ended() == 1 and "no columns `id` and `prompt`" in program.said and "Traceback" not in program.said
    program = batch(server, many(1), "--at-once", "0")
    assert program.ended() == 2
    assert jobs(place) == []
