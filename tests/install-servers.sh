#!/bin/sh
# Bring what the tests need beside Python: a MariaDB server's binaries, GStreamer's RTSP server, Chromium, the programs
# mosquitto and prometheus, a C compiler. Servers are started privately by the tests.
set -eu
has() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }
has_rtsp() {
  /usr/bin/python3 -c "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer" 2>/dev/null
}
missing=
has mariadbd && has mariadb-install-db || missing="$missing mariadb-server-core mariadb-client-core"
has_rtsp || missing="$missing python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly"
has chromium || has chromium-browser || has google-chrome || missing="$missing chromium"
has cc || has gcc || missing="$missing gcc libc6-dev"  # tests/wall_clock.c
# Debian's packages of these two start a service: only the program is taken out of them, and the libraries it needs
programs=
has mosquitto || { programs="$programs mosquitto"; missing="$missing libcjson1 libdlt2 libwrap0"; }
has prometheus || programs="$programs prometheus"
[ -n "$missing$programs" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing$missing$programs (programs only, no service is started)"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # shellcheck disable=SC2086  # a list of packages
  [ -z "$missing" ] || apt-get install -y -qq --no-install-recommends $missing >/dev/null
  if [ -n "$programs" ]; then
    folder=$(mktemp -d)
    # shellcheck disable=SC2086
    (cd "$folder" && apt-get download -qq $programs && for package in *.deb; do dpkg-deb -x "$package" .; done)
    for program in $programs; do
      find "$folder/usr" -type f -name "$program" -path "*bin/*" -exec install -m 755 {} /usr/local/bin/ \;
    done
    rm -r "$folder"
  fi
  exit 0
fi
echo "missing:$missing$programs: 'sudo apt install$missing$programs' (Debian, Ubuntu), then again: make test" >&2
echo "macOS: 'brew install mariadb mosquitto prometheus'; the tests that need GStreamer or Chromium skip with CLIPWATCH_TESTS_MAY_SKIP=1" >&2
exit 2
