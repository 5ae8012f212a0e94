#!/bin/sh
# start.sh: start Grafana with dashboards that lead to PAGE_URL, the address of clipwatch's page as browsers see it.
# The address stands in links and in SQL, so it is part of the files and not a variable that a viewer's URL could set.
set -eu
source=${DASHBOARDS:-/dashboards}
target=${DASHBOARDS_TARGET:-/tmp/dashboards}
: "${PAGE_URL:?is not set}"
case $PAGE_URL in
    *[!A-Za-z0-9:/._~%-]*) found=other ;;
    http://?*|https://?*) found=address ;;
    *) found=other ;;
esac
if [ "$found" = other ]; then
    echo "PAGE_URL: wanted an http or https address of letters, digits and : / . _ ~ % - alone" >&2
    exit 2
fi
rm -rf "$target"
cp -R "$source" "$target"
chmod -R u+w "$target"
find "$target" -name '*.json' -exec sed -i "s|http://127\.0\.0\.1:8080|${PAGE_URL%/}|g" {} +
exec "${GRAFANA_RUN:-/run.sh}" "$@"
