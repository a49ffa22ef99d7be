# What the suites share. Each check is a line on descriptor 3, and counted.
# shellcheck shell=bash
passed=0 failed=0

# expect WHAT COMMAND...: holds where the command succeeds.
expect() {
    local what=$1
    shift
    echo "---- $SECONDS s, $what: $*"
    if "$@" >/tmp/output 2>&1; then
        cat /tmp/output
        echo "ok      $what" >&3
        passed=$((passed + 1))
    else
        cat /tmp/output
        {
            echo "FAILED  $what"
            echo "        $*"
            tail -n 8 /tmp/output | sed 's/^/        /'
        } >&3
        failed=$((failed + 1))
    fi
}

equal() {
    [[ $1 == "$2" ]] || { echo "'$1' is not '$2'"; return 1; }
}

at_least() {
    (("$1" >= "$2")) || { echo "'$1' is less than $2"; return 1; }
}

# Waits at most 20 s for a command to succeed.
eventually() {
    local i
    for ((i = 0; i < 200; i++)); do
        ! "$@" 2>/dev/null || return 0
        sleep 0.1
    done
    return 1
}

# receive DIRECTORY OPTION...: a receiver in the background, $receiver, that has begun to listen.
receive() {
    mkdir -p "$1"
    sluice-recv "${@:2}" "$1" >/tmp/receiver 2>&1 &
    receiver=$!
    eventually grep -q '^listening on ' /tmp/receiver || cat /tmp/receiver
}

# Ends it, and is its exit code.
stop_receiver() {
    local status
    kill -TERM "$receiver"
    wait "$receiver"
    status=$?
    cat /tmp/receiver
    return "$status"
}

# push ARGUMENT...: a push, whose last event is then in /tmp/summary.
push() {
    timeout 100 sluice-send --json --retry-for 10 "$@" >/tmp/events
    local status=$?
    tail -n 1 /tmp/events | tee /tmp/summary
    return "$status"
}

# A number of the summary.
number() { sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p" /tmp/summary; }

# Everything below a directory: type, mode, mtime, size or target, and content. Few processes, for
# they are what takes time in here.
describe() {
    (
        cd "$1" || return
        find . -type d -print0 | sort -z | xargs -0 stat -c '%n %f %Y'
        find . -type f -print0 | sort -z | xargs -0 stat -c '%n %f %Y %s'
        find . -type f -print0 | sort -z | xargs -0 md5sum
        find . -type l -print0 | sort -z | xargs -0 stat -c '%N %f'
    )
}

same_trees() {
    describe "$1" >/tmp/left
    describe "$2" >/tmp/right
    at_least "$(wc -l </tmp/left)" 2 && diff /tmp/left /tmp/right
}
