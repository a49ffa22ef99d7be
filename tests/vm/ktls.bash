# A push in TLS, before and after the kernel has TLS: the records are made by OpenSSL or by
# sendfile(2). The kernel's own counters say which (Documentation/networking/tls.rst).
# shellcheck shell=bash
# shellcheck source=tests/vm/checks.bash
dd if=/dev/urandom of=source bs=1M count=16
mkdir tree
seq 1 400000 >tree/text
for ((i = 0; i < 100; i++)); do
    head -c $((i * 997)) source >"tree/$i"
done
(umask 077 && printf 'sluice-key-%s\n' "$(head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n')" >key)
export SLUICE_KEY_FILE=/data/key
receive received --security signed

# The kernel's counter of that name; it counts nothing before the module is there.
counter() { sed -n "s/^$1[[:space:]]*//p" /proc/net/tls_stat; }

# What the sender says of the way that most bytes went.
way() { sed -n 's/.*"sender":{"path":"\([^"]*\)".*/\1/p' /tmp/summary; }

expect "this kernel has no TLS yet" test ! -e /proc/net/tls_stat
expect "a file is sent in TLS" push source 127.0.0.1:copied/
expect "... and is what it was" cmp source received/copied/source
expect "... encrypted by OpenSSL" equal "$(way)" copy+tls
expect "a file is sent signed" push --security signed source 127.0.0.1:signed/
expect "... and is what it was" cmp source received/signed/source
expect "... in clear, by sendfile" equal "$(number sendfile)" 16777216

for module in aesni_intel gcm ctr ghash_generic tls; do
    modprobe "$module"
done
expect "this kernel has TLS now, unused" equal "$(counter TlsTxSw)" 0
expect "a file is sent in the kernel's TLS" push source 127.0.0.1:
expect "... and is what it was" cmp source received/source
expect "... as the sender says" equal "$(way)" sendfile+ktls
expect "... by sendfile alone" equal "$(number sendfile)" 16777216
expect "... on two connections at least" at_least "$(counter TlsTxSw)" 2
expect "a file is sent so by four connections" push -P 4 source 127.0.0.1:four/
expect "... and is what it was" cmp source received/four/source
expect "a tree is sent so" push tree 127.0.0.1:
expect "... and is what it was" same_trees tree received/tree
expect "a tree is sent so compressed" push -z tree 127.0.0.1:z/
expect "... and is what it was" same_trees tree received/z/tree
expect "a file is sent so at a set rate" push --bwlimit 8M tree/text 127.0.0.1:slow/
expect "... and is what it was" cmp tree/text received/slow/text
expect "no record was damaged" equal "$(counter TlsDecryptError)" 0
expect "no connection is left" equal "$(counter TlsCurrTxSw)" 0

(umask 077 && printf 'sluice-key-%064d\n' 0 >other)
expect "whoever has another key is refused" \
    bash -c 'SLUICE_KEY_FILE=/data/other sluice-send source 127.0.0.1:other/; (($? == 5))'
expect "... and has stored nothing" test ! -e received/other
expect "the receiver ends when it is told to" stop_receiver
