# The unit tests of what may differ between kernels, as they were built.
# shellcheck shell=bash
# shellcheck source=tests/vm/checks.bash
modprobe tcp_bbr
for name in zero_copy zero_copy_fault beneath net connect durability store store_large \
    store_resume work_area discarder loop; do
    expect "unit tests of $name" \
        timeout 100 /build/tests/unit --filenames-as-tags "[#${name}_test]"
done
