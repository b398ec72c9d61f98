# shellcheck shell=bash
# What the pages of packaging/servers say, for tests that do it. To be sourced.

# The nth fenced block (1 if not given) of a language on a page.
block() { # page, language, [n]
    local text
    text=$(awk -v start="\`\`\`$2" -v number="${3:-1}" '
        /^```/ { if (inside) { inside = 0 } else if ($0 == start && ++count == number) { inside = 1; next } else { inside = 2; next } }
        inside == 1' "packaging/servers/$1.md")
    [ -n "$text" ] || { echo "packaging/servers/$1.md has no block ${3:-1} of $2" >&2 && return 1; }
    printf '%s\n' "$text"
}

# The first --source that a page gives for the agent.
source_on() { # page
    local line
    line=$(grep -m 1 '^S3_AUDIT_WEBHOOK_SOURCE=' "packaging/servers/$1.md") || { echo "$1: no source" >&2 && return 1; }
    echo "${line#*=}"
}

# The words of a text with one path or address in place of another, which must be there.
put() { # what is there, what to put, file...: as sed does
    local text
    text=$(cat "${@:3}")
    case $text in
    *"$1"*) printf '%s\n' "${text//"$1"/"$2"}" ;;
    *) echo "there is no $1 in: $text" >&2 && return 1 ;;
    esac
}
