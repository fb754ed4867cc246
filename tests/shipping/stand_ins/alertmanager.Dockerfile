# In place of prom/alertmanager where no registry of images answers: Debian's Alertmanager 0.25.
ARG DEBIAN
FROM ${DEBIAN}
RUN set -eu; \
    apt-get update; \
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends prometheus-alertmanager wget; \
    rm -rf /var/lib/apt/lists/*; \
    ln -s /usr/bin/prometheus-alertmanager /bin/alertmanager; \
    install -d -o nobody -g nogroup /alertmanager
USER nobody
WORKDIR /alertmanager
VOLUME /alertmanager
ENTRYPOINT ["/bin/alertmanager"]
