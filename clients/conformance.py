"""Holds docs/CONFORMANCE.md against the tests.

Names of client tests begin with the numbers of what they show: `31 status stream: …`, `test_31_…`. The third column is
made of them; with --write this script makes it. The fourth column names tests in Rust by hand. Without an argument this
checks that the third column is what it should be, that every test named in the fourth exists, and that every behaviour
has at least one test.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs/CONFORMANCE.md"
ITEMS = 64
# suites of clients that speak another API than fal's
OTHERS = {ROOT / "clients/python/tests/test_openai.py"}
ROW = re.compile(r"^\| (\d+) \| ([^|]+) \| ([^|]*) \| ([^|]*) \|$", re.MULTILINE)
RUST = re.compile(r"`(crates/[\w/]+\.rs)` ((?:`\w+`(?:, )?)+)")
IN_JS = re.compile(r"""^\s*test\((?P<quote>["`])(?P<numbers>\d+(?:, \d+)*) (?P<name>(?:(?!(?P=quote)).)+)(?P=quote)""", re.MULTILINE)
NAMELESS_IN_JS = re.compile(r"""^\s*test\(["`](?!\d+(?:, \d+)* ).*$""", re.MULTILINE)
IN_PYTHON = re.compile(r"^def (?P<name>test_(?P<numbers>\d+(?:_\d+)*)_\w+)", re.MULTILINE)
NAMELESS_IN_PYTHON = re.compile(r"^def test_(?!\d+_).*$", re.MULTILINE)


def main():
    tests, problems = client_tests()
    before = DOCUMENT.read_text()
    after = ROW.sub(lambda row: with_tests(row, tests), before)
    if sys.argv[1:] == ["--write"]:
        DOCUMENT.write_text(after)
    elif after != before:
        problems.append(f"{DOCUMENT.name} is not what the tests say; run {Path(__file__).name} --write")
    problems += check_rows(after, tests)
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(1 if problems else None)


def client_tests():
    """Tests by number, as `(file, name)`, and what is wrong with names."""
    tests, problems = {number: [] for number in range(1, ITEMS + 1)}, []
    suites = (
        ("clients/js*/tests/*.test.mjs", IN_JS, NAMELESS_IN_JS, ", "),
        ("clients/python/tests/test_*.py", IN_PYTHON, NAMELESS_IN_PYTHON, "_"),
    )
    for pattern, named, nameless, separator in suites:
        for path in sorted(set(ROOT.glob(pattern)) - OTHERS):
            file, text = str(path.relative_to(ROOT)), path.read_text()
            problems += [f"{file}: no number in front: {found[0].strip()}" for found in nameless.finditer(text)]
            for found in named.finditer(text):
                for number in map(int, found["numbers"].split(separator)):
                    if number in tests:
                        tests[number].append((file, found["name"]))
                    else:
                        problems.append(f"{file}: there is no behaviour {number}: {found['name']}")
    return tests, problems


def with_tests(row, tests):
    number, behaviour, _, rust = row.groups()
    files = {}
    for file, name in tests.get(int(number), []):
        shown = file.removeprefix("clients/").replace("/tests/", "/")
        files.setdefault(shown, []).append(name.replace("|", "¦"))
    cell = "<br>".join(f"`{file}`: {'; '.join(names)}" for file, names in files.items())
    return f"| {number} | {behaviour} | {cell} | {rust} |"


def check_rows(document, tests):
    rows = {int(row[1]): row for row in ROW.finditer(document)}
    problems = []
    if list(rows) != list(range(1, ITEMS + 1)):
        problems.append(f"{DOCUMENT.name} should have the rows 1 to {ITEMS} in order, but has {list(rows)}")
    for number, row in rows.items():
        rust = row[4].strip()
        named = [(file, name) for file, names in RUST.findall(rust) for name in re.findall(r"`(\w+)`", names)]
        if RUST.sub("", rust).strip("; "):
            problems.append(f"row {number}: cannot read: {rust}")
        for file, name in named:
            path = ROOT / file
            if not path.is_file() or not re.search(rf"\bfn {name}\(", path.read_text()):
                problems.append(f"row {number}: {file} has no test {name}")
        if not named and not tests.get(number):
            problems.append(f"row {number}: nothing tests it: {row[2]}")
    return problems


if __name__ == "__main__":
    main()
