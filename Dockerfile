# The flagledger binary and nothing else: static, run by a user without a name, all state in /data.
#
#   docker build -t flagledger .
#   docker run -p 8000:8000 -v flagledger:/data flagledger

FROM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG VERSION=dev
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION" -o /out/flagledger ./cmd/flagledger
RUN mkdir /out/data

FROM scratch
# Certificate authorities, for calls out over TLS: copies of checkpoints (FLAGLEDGER_CHECKPOINT_URL), and NATS with tls://.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/flagledger /flagledger
# A new volume takes over this folder's owner; without it the user below could not write.
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
ENV FLAGLEDGER_LISTEN=0.0.0.0:8000 FLAGLEDGER_DATA_DIR=/data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
# Nothing but the binary is here to ask with, so it asks itself: GET http://127.0.0.1:8000/readyz.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["/flagledger", "health"]
ENTRYPOINT ["/flagledger"]
CMD ["serve"]
