#!/bin/sh
# What the tests need beside Python: Java and Maven for a real Kafka, Debian's old clickhouse-server, Prometheus, and strace for broken disks.
set -eu
missing=""
command -v java >/dev/null || missing="$missing default-jre-headless"
command -v mvn >/dev/null || missing="$missing maven"
command -v clickhouse-server >/dev/null || missing="$missing clickhouse-server"
command -v strace >/dev/null || missing="$missing strace"
command -v prometheus >/dev/null && command -v promtool >/dev/null || missing="$missing prometheus"
ldconfig -p | grep -q libgomp.so.1 || missing="$missing libgomp1"  # LightGBM
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    # no daemon may start because a package was installed; a machine that has its own say keeps it
    policy=/usr/sbin/policy-rc.d
    ours=""
    [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' > "$policy"; chmod +x "$policy"; ours=yes; }
    apt-get update -qq
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
    [ -z "$ours" ] || rm -f "$policy"
else
    echo "tests that need these are skipped by name until you install:$missing" >&2
fi
