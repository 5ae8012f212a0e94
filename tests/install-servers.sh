#!/bin/sh
# install-servers.sh [PYTHON]: bring what the tests need beside Python: a MariaDB server's binaries, GStreamer's RTSP
# server, Chromium, the programs mosquitto, prometheus, promtool, nginx and caddy, a C compiler. The tests start servers
# privately. tests/programs.py says what is missing; it looks for what the tests then run.
set -eu
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
find_missing() { "$python" -m tests.programs; }

command -v "$python" >/dev/null 2>&1 || {
  echo "found no $python, wanted the Python of the tests: make test, or name another one" >&2
  exit 2
}
missing=$(find_missing 2>/dev/null)
[ -n "$missing" ] || exit 0
packages='' programs=''
for name in $missing; do
  case $name in
    mariadb) packages="$packages mariadb-server-core mariadb-client-core" ;;
    gstreamer) packages="$packages python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base \
gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly" ;;
    chromium) packages="$packages chromium" ;;
    compiler) packages="$packages gcc libc6-dev" ;;
    # Debian's packages of these start a service: only the programs are taken out of them, and the libraries they need
    mosquitto) packages="$packages libcjson1 libdlt2 libwrap0" programs="$programs mosquitto" ;;
    nginx) packages="$packages libpcre2-8-0 libssl3 zlib1g libcrypt1" programs="$programs nginx" ;;
    caddy) programs="$programs caddy" ;;
    prometheus | promtool) programs="$programs $name" ;;
  esac
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing$packages$programs (programs only, no service is started)"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # shellcheck disable=SC2086  # a list of packages
  [ -z "$packages" ] || apt-get install -y -qq --no-install-recommends $packages >/dev/null
  if [ -n "$programs" ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    sources=$(for program in $programs; do echo "$program"; done | sed 's/^promtool$/prometheus/' | sort -u)
    # shellcheck disable=SC2086
    (cd "$folder" && apt-get download -qq $sources && for package in *.deb; do dpkg-deb -x "$package" .; done)
    for program in $programs; do
      find "$folder/usr" -type f -name "$program" -path "*bin/*" -exec install -m 755 {} /usr/local/bin/ \;
    done
  fi
  missing=$(find_missing)
  [ -n "$missing" ] || exit 0
  echo "still missing after the installation, see above: $missing" >&2
  exit 2
fi
case $programs in # promtool is in prometheus' package
  *prometheus*) programs=${programs% promtool} ;;
  *) programs=$(echo "$programs" | sed 's/promtool/prometheus/') ;;
esac
echo "missing: $missing: 'sudo apt install$packages$programs' (Debian, Ubuntu), then again: make test" >&2
echo "macOS: 'brew install mariadb mosquitto prometheus'; the tests that need GStreamer or Chromium skip with CLIPWATCH_TESTS_MAY_SKIP=1" >&2
exit 2
