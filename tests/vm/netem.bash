# scripts/netlab with the kernel's netem, which is another branch of it than the emulator of
# tests/link.
# shellcheck shell=bash
# shellcheck source=tests/vm/checks.bash
modprobe veth
modprobe sch_netem
modprobe tun
export NETLAB_LINK=/build/tests/link/link
netlab() { bash /sluice/scripts/netlab "$@"; }
near() { netlab exec lab near -- "$@"; }
far() { netlab exec lab far -- "$@"; }

# The mean of what ping says of three round trips, whole milliseconds.
round_trip() { near ping -q -c 3 10.77.0.2 | sed -n 's/.*= [0-9.]*\/\([0-9]*\).*/\1/p'; }

# A member of the line that tells of what goes from near to far.
counted() { netlab stats lab | sed -n "s/.*\"from\":\"near\".*\"$1\":\([0-9]*\).*/\1/p"; }

expect "a lab can be made here" netlab check
dd if=/dev/urandom of=source bs=1M count=4
expect "a lab with netem comes up" \
    netlab up lab --rate 20M --rtt 40ms --loss 0.5 --emulator auto
expect "... it is netem that makes it" bash -c 'tc -n netlab-lab-near qdisc show | grep netem'
expect "... the round trip is its own" at_least "$(round_trip)" 40
mkdir received
far sluice-recv --insecure --listen 10.77.0.2 received >/tmp/receiver 2>&1 &
eventually grep -q '^listening on ' /tmp/receiver
started=$SECONDS
expect "a file is sent over it" near timeout 60 sluice-send --insecure source 10.77.0.2:
expect "... not faster than its rate" at_least $((SECONDS - started)) 1
expect "... and is what it was" cmp source received/source
expect "... all of it was counted" at_least "$(counted bytes)" 4194304
expect "... some of it was dropped" at_least "$(counted dropped)" 1
cat /tmp/receiver
expect "the lab goes away" netlab down lab
expect "... and nothing of it stays" equal "$(ip netns list)" ""
