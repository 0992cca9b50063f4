# syntax=docker/dockerfile:1

# The Python that the test suite runs on. A tag may be moved: resolve it to a digest where you build
# for production (docker buildx imagetools inspect, then PYTHON=python@sha256:...).
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS build
# As local/bootstrap.py has it.
RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore uv==0.13.9
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PYTHON_DOWNLOADS=never \
    UV_PROJECT_ENVIRONMENT=/app
WORKDIR /src
# Packages first, exactly those of uv.lock and with its hashes: their layer is made again only when
# the lock changes. The build backend is one of them, so nothing comes from outside the lock.
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-default-groups --group build --no-install-project
COPY . .
RUN uv sync --frozen --no-default-groups --no-editable --no-build-isolation

FROM ${PYTHON}
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin app
# A volume that is mounted here takes this owner.
RUN install --directory --owner=10001 --group=10001 /data
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# A number, so that an orchestrator can see that it is not root.
USER 10001:10001
WORKDIR /
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
ENTRYPOINT ["swiftreplies"]
CMD ["--help"]
