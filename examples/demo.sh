#!/bin/sh
# Shows what ma2l does with one command: a pretended job of two nodes with four NPUs each, then a failure.
# usage: demo.sh PATH_OF_MA2L PATH_OF_PYTHON
set -eu
ma2l=$1
python=$2
examples=$(dirname "$0")

bold='' plain=''
if [ -t 1 ]; then
    bold=$(printf '\033[1m') plain=$(printf '\033[0m')
fi

say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }

say "1. The same command on every NPU: 2 nodes x 4 mock NPUs"
"$ma2l" --mock 2x4 --console-ranks all "$python" "$examples/hello.py"

say "2. What exactly was run, without running it"
"$ma2l" plan --mock 2 "$python" "$examples/hello.py" 2>/dev/null | sed '/^environment/,$d'

say "3. One rank fails: its last lines, and its exit code"
code=0
# shellcheck disable=SC2016 # each rank has a RANK of its own
"$ma2l" --mock 4 --console-ranks none sh -c '[ "$RANK" = 2 ] || exec sleep 60; sleep 0.2; echo "disk of rank 2 is full"; exit 7' || code=$?
echo "exit code of ma2l: $code"
[ "$code" = 7 ]

say "Logs are in ./ma2l-log. Next: put ma2l in front of your own command; ma2l help lists the options."
