# One image for every process of a lake: broker, gateway, ingest, jobs, and the operator's commands.
# 'docker compose build' makes it. The digest is that of the multi-platform index.

FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d AS wheel
WORKDIR /src
COPY requirements-build.lock ./
RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action ignore --only-binary :all: \
    --require-hashes -r requirements-build.lock
COPY LICENSE README.md pyproject.toml ./
COPY lake lake
COPY keys keys
COPY jobs jobs
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --no-index --wheel-dir /dist .

FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d AS environment
WORKDIR /src
RUN python -m venv /opt/lake
COPY requirements-runtime.lock ./
RUN /opt/lake/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary :all: \
    --require-hashes -r requirements-runtime.lock
COPY --from=wheel /dist /dist
# Nothing is compiled at a start, as the image is read-only then; and nothing can be installed later.
RUN /opt/lake/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-index /dist/*.whl \
    && /opt/lake/bin/python -m compileall -q /opt/lake/lib \
    && /opt/lake/bin/pip uninstall --yes pip setuptools

FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d
COPY --from=environment /opt/lake /opt/lake
ENV PATH=/opt/lake/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /run
# Compose says as whom it runs, so that it can read the secrets of whoever made them. Never as root.
USER 10001:10001
ENTRYPOINT ["lake"]
CMD ["--help"]
