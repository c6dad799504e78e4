#!/bin/sh
# Installs what bench_peers.py compares mdstream with into build/peers, from public registries, and says which versions these are.
# Needs Go 1.24, Node 20 with npm, and Debian's apt-get (or a redis-server of version 7 on PATH).
set -eu
cd "$(dirname "$0")/../.."
CENTRIFUGO=${CENTRIFUGO:-v6.9.1}
into=$PWD/build/peers
mkdir -p "$into/socketio" "$into/redis"

if [ ! -x "$into/centrifugo" ]; then
    GOBIN=$into go install "github.com/centrifugal/centrifugo/v6@$CENTRIFUGO"
fi

cp benchmarks/peers/socketio.mjs "$into/socketio/server.mjs"
if [ ! -d "$into/socketio/node_modules/socket.io" ]; then
    (cd "$into/socketio" && npm install --no-save --no-audit --no-fund socket.io@4 @socket.io/redis-adapter@8 redis@5)
fi

if command -v redis-server >/dev/null; then
    ln -sf "$(command -v redis-server)" "$into/redis-server"
elif [ ! -x "$into/redis-server" ]; then
    # Unpacked, not installed: no service is started, and nothing of the system changes.
    (cd "$into/redis" && apt-get download redis-tools libjemalloc2 liblzf1 libatomic1 libsystemd0 >/dev/null &&
        for package in *.deb; do dpkg -x "$package" .; done)
    libraries=$(find "$into/redis" -name '*.so.*' -exec dirname {} + | sort -u | paste -sd:)
    # The same program checks a database or serves one, as its name says.
    ln -sf usr/bin/redis-check-rdb "$into/redis/redis-server"
    printf '#!/bin/bash\nLD_LIBRARY_PATH=%s exec -a redis-server %s "$@"\n' "$libraries" "$into/redis/redis-server" \
        >"$into/redis-server"
    chmod +x "$into/redis-server"
fi

{
    go version -m "$into/centrifugo" | awk '$1 == "mod" { print $2, $3 }'
    "$into/redis-server" --version
    echo "node $(node --version)"
    cd "$into/socketio/node_modules"
    grep -H '"version":' socket.io/package.json @socket.io/redis-adapter/package.json redis/package.json
} | tee "$into/versions.txt"
