#!/bin/sh
# try.sh [FILE ...]: build every image, bring everything up with the demo and the offline model, wait until MySQL holds
# an event, and take it all down again. Uses a project, passwords and ports of its own: an installation in this folder
# is not touched. Each FILE is a compose file laid over docker-compose.yml (a machine's own needs, or another override).
#
# Needs Docker with Compose 2.24 or newer. Time limits, in seconds: TRY_BUILD_S, TRY_START_S, TRY_EVENT_S.
# Exit codes: 0 an event was recorded, and nothing is left; 1 a step failed (what was found is printed, with the logs of
# the services at fault); 2 it cannot begin.
set -eu
cd "$(dirname "$0")/.."
build_limit_s=${TRY_BUILD_S:-3600} start_limit_s=${TRY_START_S:-600} event_limit_s=${TRY_EVENT_S:-600}

say() { printf 'try: %s\n' "$*"; }
stop() { printf 'try: %s\n' "$*" >&2; exit 2; }

docker compose version >/dev/null 2>&1 || stop "found no 'docker compose', wanted Docker with Compose 2.24 or newer"
docker info >/dev/null 2>&1 || stop "found no Docker engine that answers: start it, or look at 'docker info'"
COMPOSE_PATH_SEPARATOR=:
COMPOSE_FILE=docker-compose.yml
for file in "$@"; do
    [ -f "$file" ] || stop "found no file $file, wanted a compose file"
    COMPOSE_FILE=$COMPOSE_FILE:$file
done

work=$(mktemp -d)
COMPOSE_PROJECT_NAME=clipwatch-try-$$
COMPOSE_PROFILES=demo CONFIG_DIR=./deploy/demo MODEL=mini WITH_MINI=1
PAGE_PORT=0 GRAFANA_PORT=0 # any free one
export COMPOSE_PATH_SEPARATOR COMPOSE_FILE COMPOSE_PROJECT_NAME COMPOSE_PROFILES CONFIG_DIR MODEL WITH_MINI \
    PAGE_PORT GRAFANA_PORT
label=label=com.docker.compose.project=$COMPOSE_PROJECT_NAME

compose() { docker compose --ansi never --env-file "$work/env" "$@"; }

within() { # SECONDS COMMAND ...: 124 when the time is over, where the machine has `timeout`
    limit_s=$1
    shift
    if command -v timeout >/dev/null 2>&1; then set -- timeout "$limit_s" "$@"; fi
    "$@" & # in the background, since a shell heeds signals while it waits, not while a command runs
    child=$!
    wait "$child"
}

left() { # what Docker still has of the project
    docker ps -aq --filter "$label"
    docker volume ls -q --filter "$label"
    docker network ls -q --filter "$label"
}

clean() {
    compose down --volumes --timeout 20 >/dev/null 2>&1 || true
    images=$(docker image ls -q "$COMPOSE_PROJECT_NAME/*" | sort -u)
    # shellcheck disable=SC2086  # a list of ids
    [ -z "$images" ] || docker image rm -f $images >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap clean EXIT
child=''
trap '[ -z "$child" ] || kill "$child" 2>/dev/null; exit 1' INT TERM

show() { # the end of the logs of the services named
    for service in "$@"; do
        say "the last lines of $service:"
        compose logs --no-log-prefix --tail 25 "$service" 2>&1 | sed 's/^/    /'
    done
}

fail() { # MESSAGE SERVICE ...
    say "FAILED after $(($(date +%s) - began_s)) s: $1" >&2
    shift
    if [ $# -gt 0 ]; then
        compose ps -a --format '{{.Service}}: {{.Status}}' 2>/dev/null | sed 's/^/    /' >&2
        show "$@" >&2
    fi
    exit 1
}

unwell() { # services that are not running, or not healthy; migration has ended well
    compose ps -a --format '{{.Service}} {{.State}} {{.ExitCode}} {{.Health}}' |
        while read -r service state code health; do
            case "$service $state $code" in
                migration\ exited\ 0) ;;
                *\ running\ *) [ "${health:-healthy}" = healthy ] || echo "$service" ;;
                *) echo "$service" ;;
            esac
        done
}

up() { # until everything is healthy; `up --wait` gives up at the first check that fails, as on a busy machine
    within "$start_limit_s" docker compose --ansi never --env-file "$work/env" up -d >"$work/up" 2>&1 || {
        tail -15 "$work/up" >&2
        # shellcheck disable=SC2046  # a list of services
        fail "found services that did not start within $start_limit_s s: $(unwell | tr '\n' ' ')" $(unwell)
    }
    while [ -n "$(unwell)" ]; do
        [ $(($(date +%s) - began_s)) -lt "$start_limit_s" ] || {
            # shellcheck disable=SC2046
            fail "found services that are not healthy after $start_limit_s s: $(unwell | tr '\n' ' ')" $(unwell)
        }
        sleep 2
    done
}

events() {
    # shellcheck disable=SC2016  # the container's own variables
    compose exec -T mysql sh -c 'MYSQL_PWD=$CLIPWATCH_PASSWORD exec mysql --host=127.0.0.1 --user=clipwatch \
        --batch --skip-column-names --execute="SELECT COUNT(*) FROM events" "$MYSQL_DATABASE"' 2>"$work/mysql"
}

step() {
    began_s=$(date +%s)
    name=$1
    say "$name ..."
}
done_() { say "$name: $(($(date +%s) - began_s)) s$1"; }

step "write an environment with fresh passwords"
sh deploy/new-env.sh "$work/env" >/dev/null || fail "deploy/new-env.sh"
compose config --quiet || fail "the compose files cannot be read"
done_ ""

step "build the images"
within "$build_limit_s" docker compose --ansi never --env-file "$work/env" build >"$work/build" 2>&1 || {
    tail -40 "$work/build" >&2
    fail "an image was not built within $build_limit_s s; its last lines are above"
}
done_ ""

step "start, until everything is healthy"
up
done_ ""

step "wait for an event in MySQL"
found=0
until [ "$found" -gt 0 ]; do
    [ $(($(date +%s) - began_s)) -lt "$event_limit_s" ] ||
        fail "found no event within $event_limit_s s, wanted one of the demo's; MySQL: $found $(cat "$work/mysql")" \
            camera motion classifier recorder
    sleep 1
    found=$(events) || found=0
done
done_ " ($found recorded)"

step "start again: no container is made anew"
docker ps -aq --no-trunc --filter "$label" | sort >"$work/before"
up
docker ps -aq --no-trunc --filter "$label" | sort >"$work/after"
cmp -s "$work/before" "$work/after" || fail "found other containers after a second 'up': $(cat "$work/up")"
done_ ""

step "switch the demo off: its camera goes away"
COMPOSE_PROFILES=''
up
camera=$(docker ps -aq --filter "$label" --filter label=com.docker.compose.service=camera)
[ -z "$camera" ] || fail "found the demo's camera ($camera) with COMPOSE_PROFILES empty"
done_ ""

step "stop and take everything away"
compose down --volumes >"$work/down" 2>&1 || fail "$(tail -5 "$work/down")"
[ -z "$(left)" ] || fail "found left behind: $(left | tr '\n' ' ')"
done_ ""
say "all is well"
