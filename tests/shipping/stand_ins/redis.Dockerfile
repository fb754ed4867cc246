# In place of redis:7.2-bookworm where no registry of images answers: Debian's Redis 7.0.
ARG DEBIAN
FROM ${DEBIAN}
RUN set -eu; \
    groupadd --system --gid 999 redis; \
    useradd --system --uid 999 --gid 999 --home-dir /data redis; \
    apt-get update; \
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends redis-server; \
    rm -rf /var/lib/apt/lists/*; \
    install -d -o redis -g redis /data
WORKDIR /data
VOLUME /data
CMD ["redis-server"]
