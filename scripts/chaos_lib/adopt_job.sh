#!/bin/sh
# One rank of a job that does not behave: adopt_job.sh KIND DIR CODE. Says that it is up by a file in DIR, waits for a word
# from the pipe there, and exits with CODE. What it starts would outlive it, but for whoever cleans up.
kind=$1 dir=$2 code=$3 rank=$OMPI_COMM_WORLD_RANK

case $kind in
  setsid-helpers)
    for _ in 1 2 3; do setsid sleep 1000 >/dev/null 2>&1 & done ;;
  double-fork)
    (setsid sh -c 'trap "" HUP TERM; sleep 1000 & sleep 1000 &' >/dev/null 2>&1 &) ;;
  ignored-sigterm)
    trap '' TERM ;;
  fork-storm) # at most 200 a second, 300 in all
    (n=0
     while [ $n -lt 300 ]; do
       (trap '' TERM; exec setsid sleep 1000) &
       n=$((n + 1))
       [ $((n % 10)) -ne 0 ] || sleep 0.05
     done) >/dev/null 2>&1 & ;;
esac

: > "$dir/up.$rank"
if [ "$kind" = stopped-rank ] && [ "$rank" = 1 ]; then kill -STOP $$; fi
read -r _ < "$dir/go.$rank"
exit "$code"
