# In place of qdrant/qdrant:v1-unprivileged where no registry of images answers: NOT Qdrant, but the tests' double of
# its REST interface. It shows that address, key, certificates, volumes and user fit; nothing of Qdrant itself.
ARG ROLLCALL
FROM ${ROLLCALL}
USER root
RUN set -eu; \
    PATH=$PATH:/usr/sbin; groupadd --gid 1000 qdrant; \
    useradd --uid 1000 --gid 1000 --home-dir /qdrant qdrant; \
    install -d -o 1000 -g 1000 /qdrant/storage /qdrant/snapshots /qdrant/config
COPY gallery_wire.py qdrant_stand_in.py /qdrant/
USER 1000:1000
WORKDIR /qdrant
HEALTHCHECK NONE
ENTRYPOINT ["/usr/bin/tini", "--", "python", "/qdrant/qdrant_stand_in.py"]
