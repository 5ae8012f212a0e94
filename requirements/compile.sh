#!/bin/sh
# compile.sh BIN: pin requirements/*.in into *.txt with hashes, for every platform, all in step with test.txt (the union).
#
# All are installed with --no-deps, since they are whole but for one package that is left out: through
# openvino-telemetry `import openvino` and nncf tell Google Analytics that they are used. Both work without it.
set -eu
bin=$1
cd "$(dirname "$0")"
case $bin in /*) ;; *) bin=../$bin ;; esac
compile() {
  "$bin/uv" pip compile --quiet --universal --python-version 3.11 --no-header --generate-hashes \
    --no-emit-package openvino-telemetry "$@"
}
compile test.in --output-file test.txt
for part in shared motion classifier recorder local gpu convert; do
  compile --constraint test.txt "$part.in" --output-file "$part.txt"
done
for part in open_clip uv; do
  compile --no-deps --constraint test.txt "$part.in" --output-file "$part.txt"
done
compile --no-deps models.in --output-file models.txt
