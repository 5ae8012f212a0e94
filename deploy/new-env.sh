#!/bin/sh
# Write .env from .env.example with a fresh random password wherever one is missing. Never touches an existing .env.
set -eu
cd "$(dirname "$0")/.."
if [ -e .env ]; then
    echo "new-env: .env is already there: edit it, or move it away for a new one" >&2
    exit 1
fi
umask 077
temporary=$(mktemp .env.XXXXXX)
trap 'rm -f "$temporary"' EXIT
while IFS= read -r line || [ -n "$line" ]; do
    case $line in
        \#*) printf '%s\n' "$line" ;;
        *_PASSWORD=) printf '%s%s\n' "$line" "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" ;;
        *) printf '%s\n' "$line" ;;
    esac
done <.env.example >"$temporary"
mv "$temporary" .env
trap - EXIT
echo "new-env: wrote .env with fresh passwords; look through it, then: docker compose up -d --wait"
