#!/bin/sh
# new-env.sh [FILE]: write .env (or FILE) from .env.example, with a fresh random password wherever one is missing and a
# project name made from this folder's path. Never touches an existing file.
set -eu
cd "$(dirname "$0")/.."
file=${1:-.env}
if [ -e "$file" ]; then
    echo "new-env: $file is already there: edit it, or move it away for a new one" >&2
    exit 1
fi
# A clone made with umask 077 holds files that the containers' users cannot read.
chmod -R a+rX deploy grafana-provisioning samples
umask 077
number=$(pwd -P | cksum | cut -d ' ' -f 1)
temporary=$(mktemp "$file.XXXXXX")
trap 'rm -f "$temporary"' EXIT
while IFS= read -r line || [ -n "$line" ]; do
    case $line in
        \#*) printf '%s\n' "$line" ;;
        *_PASSWORD=|*_TOKEN=) printf '%s%s\n' "$line" "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" ;;
        COMPOSE_PROJECT_NAME=*) printf '%s-%s\n' "$line" "$number" ;;
        *) printf '%s\n' "$line" ;;
    esac
done <.env.example >"$temporary"
mv "$temporary" "$file"
trap - EXIT
echo "new-env: wrote $file with fresh passwords; look through it, then: docker compose up -d --wait"
