# One image for every part of Truetick: the command decides which part runs (see docker-compose.yml).

FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/truetick
WORKDIR /source
# The libraries first: they change rarely, so rebuilding after a change of the code takes seconds.
COPY requirements.lock .
RUN /opt/truetick/bin/pip install --no-deps --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE celeryconfig.py ./
COPY alembic alembic
COPY worker worker
COPY crm_bridge crm_bridge
COPY wasender_sandbox wasender_sandbox
RUN pip wheel --no-deps --wheel-dir /wheels . && /opt/truetick/bin/pip install --no-deps /wheels/*.whl \
    && /opt/truetick/bin/pip check

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin truetick \
    && install -d -o truetick -g truetick -m 0700 /srv/truetick
COPY --from=build /opt/truetick /opt/truetick
ENV PATH=/opt/truetick/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER truetick
WORKDIR /srv/truetick
EXPOSE 5000
CMD ["truetick", "web", "--host", "0.0.0.0", "--port", "5000"]
