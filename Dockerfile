# The packages are installed in one stage and copied into another, so the image that runs has no cache and no build tools.
FROM python:3.12-slim-bookworm AS packages

RUN python -m venv /opt/venv
COPY requirements.txt /tmp/requirements.txt
# Every requirement has a wheel. One that suddenly has none should fail here, not ask for a compiler.
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary=:all: \
        --require-hashes -r /tmp/requirements.txt \
    && /opt/venv/bin/pip uninstall --yes --quiet pip setuptools \
    && /opt/venv/bin/python -m compileall -q /opt/venv/lib


FROM python:3.12-slim-bookworm

# Spool files are all that the service writes to disk beside MongoDB. The directory belongs to the service here, so a
# volume that is mounted on it does too.
RUN groupadd --system --gid 10001 service \
    && useradd --system --uid 10001 --gid service --no-create-home --home-dir /nonexistent service \
    && install -d -o service -g service -m 700 /var/lib/service

COPY --from=packages /opt/venv /opt/venv
COPY LICENSE README.md CHANGELOG.md docker/health.py /app/
COPY schemas /app/schemas
COPY scripts /app/scripts
COPY service /app/service
RUN /opt/venv/bin/python -m compileall -q /app

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DATA_DIR=/var/lib/service \
    HOST=0.0.0.0 \
    PORT=8000

WORKDIR /app
USER service
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "/app/health.py"]
CMD ["python", "-m", "service"]
