#!/usr/bin/env python3
"""The operating page and the source have the same lines of the log, at the same level, the same reasons for which a webhook or
a source is away, and the same answers of Splunk.

usage: log_lines.py PAGE

On the page each begins an item of a list, in backquotes and with … for what varies: lines with their level, reasons without,
answers in a table.
"""

import pathlib
import re
import sys

STRING = r'(?:format!\(\s*)?"((?:[^"\\]|\\[\s\S])*)"'
# What the source writes into the log: what its text stands behind there, its level, and what is put around it.
LINES = (
    (r"\berror!\(\s*", "ERROR …"),
    (r"\bwarn!\(\s*", "WARN …"),
    (r"\binfo!\(\s*", "INFO …"),
    # The balance: WARN if something was lost.
    (r"\blog!\(\s*level,\s*", "INFO …"),
    # What is found before the log is open, and said then.
    (r"\b(?:warnings|notices)\.push\(\s*", "WARN …"),
    (r"\blet warning = ", "WARN …"),
    (r"\blet notice = ", "INFO …"),
    (r"\bLevel::Warn,\s*", "WARN …: …"),
    (r"\bLevel::Info,\s*", "INFO …: …"),
    (r"\.map\(\|\(place, name\)\| ", "WARN …"),
    (r"unreadable\.map\(\|kind\| \{\s*let path = [^;]*;\s*", "WARN …"),
    # A checkpoint that can't be written.
    (r"self\.is_failing = true;\s*", "WARN …"),
    # No webhook.
    (r"if !options\.enabled \{\s*", "WARN …: events are read and thrown away"),
    (r"is_ok\(\)\) \{\s*let path = config\.path\.display\(\);\s*", "WARN …: events are read and thrown away"),
    (r"\.complain\(\s*", "ERROR source …: a client …"),
)
# Why a webhook or a source is away.
REASONS = (
    (r"Trouble::(?:passing|lasting|closed)\(\s*&?", "…"),
    (r"(?<!Trouble::)\blasting\(\s*&?", "…"),
    (r"let why = (?=format!\(\s*\"answered)", "…"),
    (r"\.failed\(\s*&?", "…"),
)
# What two functions of trouble.rs put before their reasons.
BEFORE = {"of_tls": "TLS: ", "of_certificate": "TLS: certificate "}


def texts(patterns, source):
    for pattern, around in patterns:
        for match in re.finditer(pattern + STRING, source):
            text = re.sub(r"\\\n\s*", "", match.group(1)).replace('\\"', '"')
            text = re.sub(r"\{[^}]*\}", "…", text)
            if not re.search(r"[a-z]{3}", text):
                continue  # it only passes something on
            function = re.findall(r"\nfn (\w+)", source[: match.start()])[-1:]
            if "lasting" in pattern and "Trouble" not in match.group(0) and function:
                text = BEFORE.get(function[0], "") + text
            level, _, rest = around.rpartition("…") if around.endswith("…") else around.partition("…")
            yield re.sub("…+", "…", level + text + rest)


lines, reasons, answers = set(), set(), set()
for path in sorted(pathlib.Path("src").rglob("*.rs")):
    if path.name == "tests.rs" or "commands" in path.parts:
        continue
    source = path.read_text(encoding="utf-8").split("#[cfg(test)]\nmod tests")[0]
    lines.update(texts(LINES, source))
    reasons.update(texts(REASONS, source))
    answers.update(re.findall(r'^ +(\d+)(?:\.\.=\d+)? => \("([^"]+)"', source, re.MULTILINE))
# The template of those that stand behind it.
lines.discard("ERROR source …: a client …")
# These only put a beginning before other reasons.
reasons -= {"answered …", "TLS: certificate …"}

page = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")


def items(heading):
    section = re.split(r"^## ", page, flags=re.MULTILINE)
    (section,) = (part for part in section if part.startswith(heading))
    return {double or single for double, single in re.findall(r"^- (?:`` (.+?) ``|`([^`]+)`)", section, re.MULTILINE)}


told_lines, told_reasons = items("The log\n"), items("Why ")
told_answers = set(re.findall(r"^\| (\d+)(?:–\d+)? ([^|]+?) \|", page, re.MULTILINE))
failed = False
for what, there, said in (
    ("line", lines, told_lines),
    ("reason", reasons, told_reasons),
    ("answer", answers, told_answers),
):
    for text in sorted(there - said):
        print(f"the page lacks the {what}: {text}")
        failed = True
    for text in sorted(said - there):
        print(f"the source has no such {what}: {text}")
        failed = True
    if not there:
        sys.exit(f"the source has no {what}")
if failed:
    sys.exit(1)
print(f"{len(lines)} lines of the log, {len(reasons)} reasons, and {len(answers)} answers of Splunk")
