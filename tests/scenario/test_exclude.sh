#!/usr/bin/env bash
# tests/scenario/test_exclude.sh - what is left out of a backup of plain paths, by options and by the configuration, and that it
# is counted and shown.
. "$abs_top_srcdir/tests/tap.sh"
. "$abs_top_srcdir/tests/lib/scenario.sh"
unset VBACKUP_CONFIG
export HOME=$T/home XDG_CONFIG_HOME=$T/home/.config
mkdir -p "$T/home" "$T/data/src/build" "$T/data/cache/deep" "$T/data/private"
echo 1 > "$T/data/src/a.c"; echo 2 > "$T/data/src/a.o"; echo 3 > "$T/data/src/A.O"; echo 4 > "$T/data/src/build/x"
printf 'Signature: 8a477f597d28d172789f06886806bc55\n' > "$T/data/cache/CACHEDIR.TAG"
echo 5 > "$T/data/cache/deep/c"; echo 6 > "$T/data/private/p"; : > "$T/data/private/.nobackup"
head -c 200000 /dev/urandom > "$T/data/large"
ok "init" vb init -q
out=$(vb backup --allow-live --exclude '*.o' --exclude src/build/ --exclude-caches --exclude-if-present .nobackup \
    --exclude-larger-than 100K "$T/data" 2>&1); status=$?
is "left out by options: exit status" "$status" 0
like "... counted and shown" "$out" "left out by exclusions: 2 files, 3 directories"
like "... also later" "$(vb show)" "left out by exclusions: 2 files, 3 directories"
vb restore -q --target "$T/out"
is "... and what is left" "$(cd "$T/out$T/data" && find . | LC_ALL=C sort | tr '\n' ' ')" \
    ". ./cache ./cache/CACHEDIR.TAG ./private ./private/.nobackup ./src ./src/A.O ./src/a.c "
out=$(vb backup --allow-live --json --iexclude '*.o' "$T/data" 2>/dev/null | grep '"summary"')
like "either case" "$out" '"left_out_files": ?2'
out=$(vb backup --allow-live --exclude / "$T/data" 2>&1); status=$?
is "a pattern without a name: exit status" "$status" 2
like "... says which option" "$out" "exclude: exclusion pattern '/' is empty"
out=$(vb backup --allow-live --exclude x 2>&1); status=$?
is "exclusions without a path: exit status" "$status" 2
like "... says where others stand" "$out" "hint: .*vbackup-writer-files"

cat > "$T/conf" <<CONF
[writer files data]
path = $T/data
exclude-pattern = *.o
exclude-caches = yes
exclude-if-present = .nobackup
exclude-larger-than = 100K
exclude-pattern = $T/data/src/build
CONF
export VBACKUP_CONFIG=$T/conf VBACKUP_STATE_DIR=$T/state2 VBACKUP_RUNTIME_DIR=$T/run2 # an agent that knows it
out=$(vb backup --allow-live 2>&1); status=$?
is "left out by the configuration: exit status" "$status" 0
like "... the same" "$out" "left out by exclusions: 2 files, 3 directories"
sed -i 's/100K/much/' "$T/conf"
export VBACKUP_STATE_DIR=$T/state3 VBACKUP_RUNTIME_DIR=$T/run3
out=$(vb backup --allow-live 2>&1)
like "a wrong size is told" "$out" "'much' is not a size"
done_testing
