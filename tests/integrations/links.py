#!/usr/bin/env python3
"""Every relative link of the project's Markdown files leads to a file that is there, and to a heading that it has."""

import pathlib
import re
import subprocess
import sys

names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.md"], capture_output=True, check=True, text=True)
pages = [pathlib.Path(name) for name in names.stdout.split()]


def anchors(path):
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


count = 0
for page in pages:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"\w+:", link):
            continue
        count += 1
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists():
            sys.exit(f"{page}: {link} is not there")
        if anchor and anchor not in anchors(target):
            sys.exit(f"{page}: {link}: no such heading")
if not count:
    sys.exit("there are no links")
print(f"{count} links in {len(pages)} pages")
