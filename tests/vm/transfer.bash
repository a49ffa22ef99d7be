# A tree and a large file, the ways in which they are usually sent.
# shellcheck shell=bash
# shellcheck source=tests/vm/checks.bash

make_sources() {
    local i
    mkdir -p source/tree/{small,deep/a/b/c,empty}
    dd if=/dev/urandom of=source/large bs=1M count=64
    for ((i = 0; i < 300; i++)); do
        head -c $((i * 67)) source/large >"source/tree/small/$i"
    done
    seq 1 1000000 >source/tree/text
    head -c 3000000 source/large >source/tree/deep/a/b/c/medium
    : >source/tree/none
    truncate -s 20M source/tree/holes
    head -c 100000 source/large | dd of=source/tree/holes bs=4k seek=2000 conv=notrunc
    ln -s ../nowhere source/tree/dangling
    ln -s small/7 source/tree/link
    chmod 600 source/tree/small/5
    chmod 755 source/tree/small/6
    touch -d '2001-02-03 04:05:06' source/tree/small/7 source/tree/deep source/tree/empty
    chmod 555 source/tree/empty
}
make_sources
receive received --digests /tmp/digests

expect "a large file is sent by the defaults" push source/large 127.0.0.1:
expect "... and is what it was" cmp source/large received/large
expect "... by sendfile alone" equal "$(number sendfile)" 67108864
expect "... by splice alone" equal "$(number splice)" 67108864
expect "a large file is sent by four connections" push -P 4 source/large 127.0.0.1:four/
expect "... and is what it was" cmp source/large received/four/large
expect "... by splice alone" equal "$(number splice)" 67108864
expect "a large file is copied through both programs" \
    push --send-path copy source/large 127.0.0.1:copied/
expect "... and is what it was" cmp source/large received/copied/large
expect "... without sendfile" equal "$(number sendfile)" 0

expect "a tree is sent by the defaults" push source/tree 127.0.0.1:
expect "... and is what it was" same_trees source/tree received/tree
expect "... its holes are holes" equal "$(du -k received/tree/holes | cut -f 1)" \
    "$(du -k source/tree/holes | cut -f 1)"
expect "... files of some size by splice" at_least "$(number splice)" 3000000
expect "a tree is not sent twice" push source/tree 127.0.0.1:
expect "... not a byte of it" equal "$(number bytes_sent)" 0
expect "a tree is sent compressed, by four connections" push -z -P 4 source/tree 127.0.0.1:z/
expect "... and is what it was" same_trees source/tree received/z/tree
expect "... what shrinks by zstd" at_least "$(number zstd_bytes_on_wire)" 100000
expect "a tree is sent as -z auto finds best" push -z auto source/tree 127.0.0.1:auto/
expect "... and is what it was" same_trees source/tree received/auto/tree
expect "a tree is on the medium before its end" push --fsync source/tree 127.0.0.1:synced/
expect "... and is what it was" same_trees source/tree received/synced/tree
expect "a single new file goes beside others" push source/tree/text 127.0.0.1:tree/other
expect "... and is what it was" cmp source/tree/text received/tree/other
expect "a tree is sent over a link at a set rate" \
    push --bwlimit 40M source/tree/deep 127.0.0.1:slow/
modprobe tcp_bbr
expect "a file is sent by BBR" push --congestion bbr source/tree/text 127.0.0.1:bbr/
expect "... and is what it was" cmp source/tree/text received/bbr/text

expect "the receiver ends when it is told to" stop_receiver
expect "xxhsum agrees with the receiver's list" bash -c 'cd received && xxhsum -q -c /tmp/digests'
expect "the work area is empty" equal "$(ls -A received/.sluice 2>/dev/null)" ""
