# syntax=docker/dockerfile:1

# Scumble as an image: docker build --build-arg SCUMBLE_COMMIT="$(git rev-parse HEAD)" --tag scumble .
#
# docs/OPERATIONS.md says how it is run. What was compiled is kept between builds on one machine (BuildKit's cache mounts), so
# that a change compiles only what it touches.

# as in rust-toolchain.toml, which is left out here: rustup would fetch its tools, which nobody needs in an image
ARG RUST_VERSION=1.95.0

FROM rust:${RUST_VERSION}-slim-bookworm AS build
WORKDIR /source
# what --version says; the folder of git is not copied
ARG SCUMBLE_COMMIT=
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
COPY crates crates
COPY docs docs
COPY starter/weights starter/weights
COPY web web
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked --package scumble-cli && \
    install -D target/release/scumble /out/scumble

FROM debian:bookworm-slim
# what makers, hubs, buckets and receivers of webhooks show has to be checked against something; of any version, for Debian keeps
# only the newest
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install --yes --no-install-recommends ca-certificates && \
    rm -rf /var/lib/apt/lists/*
# A user of the image alone; volumes that are made from these folders belong to it.
RUN groupadd --gid 10001 scumble && \
    useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin scumble && \
    install --directory --owner=10001 --group=10001 --mode=700 /data /models
COPY --from=build /out/scumble /usr/local/bin/scumble

# by number, so that Kubernetes can tell that it is not root
USER 10001:10001
# in a container its own loopback would be reached by nobody
ENV SCUMBLE_LISTEN=0.0.0.0:8787 \
    SCUMBLE_DATA_DIR=/data \
    HF_HOME=/models
# the database and pictures; weights that `models pull` has fetched
VOLUME ["/data", "/models"]
EXPOSE 8787

# Whether the process answers: there is no HTTP client in the image, and bash can speak as much as is needed. Every role that
# listens has this route. Whether it can take calls, /ready says; a database that is away is not a reason to end the container.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8787 && printf 'GET /health HTTP/1.0\\r\\n\\r\\n' >&3 && grep -q '^HTTP/1.[01] 200' <&3"]

# The server is process 1: it hears SIGTERM itself and starts no processes of its own, so it needs no init.
ENTRYPOINT ["scumble"]
CMD ["serve"]
