#!/bin/sh
# wait-ready.sh <address of /readyz> <seconds>: waits until it answers 200; exits 1 when it does not in time.
set -eu
left=$(($2 * 10))
while [ "$left" -gt 0 ]; do
  if curl --silent --fail --max-time 2 --output /dev/null "$1"; then exit 0; fi
  left=$((left - 1))
  sleep 0.1
done
echo "$1 did not answer with 200 within $2 s" >&2
exit 1
