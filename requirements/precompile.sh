#!/bin/sh
# precompile.sh PYTHON: compile what the services import, by importing it, which takes a third of the time of compiling
# every package; also where PYTHONDONTWRITEBYTECODE is set, since each start of a service would take twice as long.
# What cannot be imported is left to the service, which says so.
set -u
python=$1
unset PYTHONDONTWRITEBYTECODE
"$python" -c 'import services.recorder.app, services.local.cli' 2>/dev/null &
"$python" -c 'import services.motion.app' 2>/dev/null &
"$python" -c 'import openvino, ftfy, huggingface_hub, safetensors, simplejpeg, tokenizers, services.classifier.app' 2>/dev/null &
wait
