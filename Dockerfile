# Belltower in an image of its own: one static binary, and nothing else that runs.
#
#   docker build -t belltower .
#   docker run -p 127.0.0.1:8080:8080 -v belltower:/data belltower

FROM golang:1.26 AS build
WORKDIR /src
# Modules first: they change less often than the code.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# No cgo: SQLite is translated to Go, so the binary needs no C library. Time
# zones are linked in.
RUN CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o /out/belltower ./cmd/belltower
# Folders can't be made in an empty image. A new volume takes over the owner of /data.
RUN mkdir -p /out/data /out/tmp && chmod 0700 /out/data && chmod 1777 /out/tmp

FROM scratch
# For channels that reach their providers over TLS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build --chown=65532:65532 /out/data /data
COPY --from=build /out/tmp /tmp
COPY --from=build /out/belltower /belltower
COPY LICENSE /LICENSE
# No name: there is no /etc/passwd.
USER 65532:65532
VOLUME /data
EXPOSE 8080
# No HEALTHCHECK: nothing in the image could ask. Point the platform's own probes
# at GET /healthz (alive) and GET /readyz (takes requests); both are open.
ENTRYPOINT ["/belltower"]
CMD ["serve", "--listen", "0.0.0.0:8080", "--data", "/data"]
