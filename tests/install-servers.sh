#!/bin/sh
# Bring what the tests need beside Python: a MariaDB server's binaries. They are started privately by the tests.
set -eu
has() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }
if has mariadbd && has mariadb-install-db; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing mariadb-server-core (binaries only, no service is started)"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends mariadb-server-core mariadb-client-core >/dev/null
  exit 0
fi
echo "MariaDB is missing: 'sudo apt install mariadb-server-core' (Debian, Ubuntu) or 'brew install mariadb' (macOS), then again: make test" >&2
exit 2
