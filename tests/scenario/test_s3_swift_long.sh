#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A repository in a real object storage: OpenStack Swift with its S3 layer, on one machine (scripts/setup --long).
. "${abs_top_srcdir:?}/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
for p in swift-proxy-server swift-account-server swift-container-server swift-object-server swift-ring-builder memcached; do
    command -v $p > /dev/null || skip_all "no $p (scripts/setup --long)"
done
python=/usr/bin/python3 # Debian's own, which Swift is installed for
pids=
tap_cleanup() {
    local p
    for p in $pids; do kill "$p" 2>/dev/null; done
    scenario_cleanup
}
base=$((20000 + RANDOM % 10000))
mkdir -p "$T/etc" "$T/node/d1"
cd "$T/etc" || bail "no scratch directory"
printf '[swift-hash]\nswift_hash_path_suffix = a\nswift_hash_path_prefix = b\n' > swift.conf
common="swift_dir = $T/etc
workers = 0
bind_ip = 127.0.0.1
user = $(id -un)
log_address = $T/no-such-log"
i=1
for s in account container object; do
    {
        swift-ring-builder $s.builder create 4 1 0 &&
        swift-ring-builder $s.builder add r1z1-127.0.0.1:$((base + i))/d1 1 &&
        swift-ring-builder $s.builder rebalance
    } > "$T/rings" 2>&1 || bail "no ring: $(tail -1 "$T/rings")"
    cat > $s-server.conf <<END
[DEFAULT]
$common
bind_port = $((base + i))
devices = $T/node
mount_check = false
fallocate_reserve = 0
[pipeline:main]
pipeline = $s-server
[app:$s-server]
use = egg:swift#$s
END
    i=$((i + 1))
done
cat > proxy-server.conf <<END
[DEFAULT]
$common
bind_port = $base
[pipeline:main]
pipeline = catch_errors proxy-logging cache listing_formats bulk s3api tempauth slo dlo proxy-logging proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:proxy-logging]
use = egg:swift#proxy_logging
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:$((base + 9))
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
location = us-test-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
END
memcached -u nobody -l 127.0.0.1 -p $((base + 9)) -m 16 > "$T/memcached.log" 2>&1 &
pids="$pids $!"
for s in account container object proxy; do
    $python "$(command -v swift-$s-server)" "$T/etc/$s-server.conf" > "$T/$s.log" 2>&1 &
    pids="$pids $!"
done
cd "$T" || bail "no scratch directory"

# The bucket is made by a signed request of its own.
cat > "$T/make_bucket.py" <<'END'
import datetime, hashlib, hmac, http.client, sys
port = int(sys.argv[1])
def sign(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
now = datetime.datetime.utcnow().strftime('%Y%m%dT%H%M%SZ')
empty = hashlib.sha256(b'').hexdigest()
headers = {'host': f'127.0.0.1:{port}', 'x-amz-content-sha256': empty, 'x-amz-date': now}
names = ';'.join(sorted(headers))
canonical = '\n'.join(['PUT', '/bucket', '', ''.join(f'{k}:{headers[k]}\n' for k in sorted(headers)), names, empty])
scope = f'{now[:8]}/us-test-1/s3/aws4_request'
key = b'AWS4testing'
for part in scope.split('/'):
    key = sign(key, part)
text = '\n'.join(['AWS4-HMAC-SHA256', now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
headers['authorization'] = (f'AWS4-HMAC-SHA256 Credential=test:tester/{scope}, SignedHeaders={names}, '
                            f'Signature={hmac.new(key, text.encode(), hashlib.sha256).hexdigest()}')
c = http.client.HTTPConnection('127.0.0.1', port, timeout=20)
c.request('PUT', '/bucket', b'', headers)
sys.exit(0 if c.getresponse().status == 200 else 1)
END
made=
for i in $(seq 120); do
    $python "$T/make_bucket.py" "$base" > "$T/bucket.log" 2>&1 && made=1 && break
    sleep 0.5
done
[ -n "$made" ] || bail "Swift does not answer: $(tail -1 "$T/proxy.log") $(tail -1 "$T/bucket.log")"

cat > "$T/vbackup.conf" <<END
[requester]
name = web
allow-live = yes
[repository]
location = s3://bucket/some/place
endpoint = http://127.0.0.1:$base
region = us-test-1
END
chmod 600 "$T/vbackup.conf"
unset VBACKUP_REPOSITORY
export AWS_ACCESS_KEY_ID=test:tester AWS_SECRET_ACCESS_KEY=testing
mkdir "$T/src"
head -c 40000000 /dev/urandom > "$T/src/big"
for i in $(seq 300); do echo "$i" > "$T/src/file$i"; done

out=$(vb init 2>&1)
is "init" $? 0
like "Swift has no conditional PUT: that is found out and told" "$out" "does not understand If-None-Match"
ok "backup" vb backup "$T/src"
ok "check --read-data" vb check --read-data
echo more > "$T/src/file1"
ok "another backup" vb backup "$T/src"
ok "restore" vb restore latest -q --target "$T/back"
ok "... what was saved" diff -r "$T/src" "$T/back$T/src"
ok "forget" vb forget --keep-last 1
ok "prune" vb prune --delay 0s
ok "prune once more" vb prune --delay 0s
ok "what is left is whole" vb check --read-data
done_testing
