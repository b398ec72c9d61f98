#!/usr/bin/env python3
"""Every relative link of the Markdown files below a directory leads to a file that is there, and to a heading that it has.

usage: links.py [DIRECTORY]        without one, those of the project, which must also be short
"""

import pathlib
import re
import subprocess
import sys

# Lines; the history of a project has no end.
LIMITS = {"README.md": 150, "ARCHITECTURE.md": 120, "CHANGELOG.md": None}
LIMIT = 250
COLUMNS = 100


def prose(path):
    """The page without its blocks of code between fences."""
    return re.sub(r"^ *```.*?^ *```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(path):
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page):
    """How many links the page has."""
    count = 0
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"\w+:", link):
            continue
        count += 1
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        # Packages have the changelog compressed.
        if not target.exists() and not target.with_name(target.name + ".gz").exists():
            sys.exit(f"{page}: {link} is not there")
        if anchor and anchor not in anchors(target):
            sys.exit(f"{page}: {link}: no such heading")
    return count


def is_short(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    limit = LIMITS.get(str(page), LIMIT)
    if limit and len(lines) > limit:
        sys.exit(f"{page}: {len(lines)} lines, of {limit} at most")
    if str(page) == "README.md" or str(page).startswith("packaging/docs/"):
        for number, line in enumerate(lines, 1):
            # Tables, what a program prints and a long address can't be wrapped.
            is_prose = not line.startswith(("|", "    ")) and " " in line.strip() and line in prose(page).splitlines()
            if len(line) > COLUMNS and is_prose:
                sys.exit(f"{page}:{number}: {len(line)} columns, of {COLUMNS} at most")


def tests_exist():
    """The page on guarantees names tests that there are."""
    page = pathlib.Path("packaging/docs/guarantees.md").read_text(encoding="utf-8")
    sources = [path for name in ("src", "tests") for path in pathlib.Path(name).rglob("*.rs")]
    code = "".join(path.read_text(encoding="utf-8") for path in sources)
    names = re.findall(r"`([a-z0-9]+(?:_[a-z0-9]+){3,})`", page.split("\n## Tests\n")[1])
    missing = [name for name in names if f"fn {name}(" not in code]
    if missing or not names:
        sys.exit(f"packaging/docs/guarantees.md: no such tests: {missing}")


def main():
    if len(sys.argv) > 1:
        pages = list(pathlib.Path(sys.argv[1]).rglob("*.md"))
    else:
        listed = ["git", "ls-files", "-co", "--exclude-standard", "*.md"]
        names = subprocess.run(listed, capture_output=True, check=True, text=True)
        pages = [page for page in map(pathlib.Path, names.stdout.split()) if page.exists()]
        for page in pages:
            is_short(page)
        tests_exist()
        known = (pathlib.Path("README.md").read_text(encoding="utf-8"))
        for page in pathlib.Path("packaging/docs").glob("*.md"):
            if f"({page}" not in known:
                sys.exit(f"README.md has no link to {page}")
    count = sum(map(links, pages))
    if not count:
        sys.exit("there are no links")
    print(f"{count} links in {len(pages)} pages")


if __name__ == "__main__":
    main()
