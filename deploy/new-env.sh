#!/bin/sh
# new-env.sh [--add] [FILE]: write .env (or FILE) from .env.example, with a fresh random password wherever one is missing
# and a project name made from this folder's path. Never touches an existing file; with --add it appends the variables
# that an older one lacks, and changes nothing else.
set -eu
cd "$(dirname "$0")/.."
add=
if [ "${1:-}" = --add ]; then
    add=yes
    shift
fi
file=${1:-.env}
if [ -e "$file" ] && [ -z "$add" ]; then
    echo "new-env: $file is already there: edit it, or move it away for a new one; what it lacks: new-env.sh --add" >&2
    exit 1
fi
# A clone made with umask 077 holds files that the containers' users cannot read.
chmod -R a+rX deploy grafana-provisioning samples
umask 077
number=$(pwd -P | cksum | cut -d ' ' -f 1)

filled() { # the lines of .env.example with passwords
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in
            \#*) printf '%s\n' "$line" ;;
            *_PASSWORD=|*_TOKEN=) printf '%s%s\n' "$line" "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" ;;
            COMPOSE_PROJECT_NAME=*) printf '%s-%s\n' "$line" "$number" ;;
            *) printf '%s\n' "$line" ;;
        esac
    done <.env.example
}

if [ -e "$file" ]; then
    # without a project name an older file stands for `clipwatch`, whose volumes hold its data
    filled | grep -E '^[A-Z]' | grep -v '^COMPOSE_PROJECT_NAME=' | while IFS= read -r line; do
        grep -q "^${line%%=*}=" "$file" || printf '%s\n' "$line"
    done >"$file.added.$$"
    [ -z "$(tail -c 1 "$file")" ] || echo >>"$file"
    cat "$file.added.$$" >>"$file"
    echo "new-env: added to $file: $(sed 's/=.*//' "$file.added.$$" | tr '\n' ' ')"
    rm -f "$file.added.$$"
    exit 0
fi
temporary=$(mktemp "$file.XXXXXX")
trap 'rm -f "$temporary"' EXIT
filled >"$temporary"
mv "$temporary" "$file"
trap - EXIT
echo "new-env: wrote $file with fresh passwords; look through it, then: docker compose up -d --wait"
echo "new-env: log in at http://127.0.0.1:8080 as admin, with ADMIN_PASSWORD of $file"
