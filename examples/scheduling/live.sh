#!/usr/bin/env bash
# How far the simulator is from reality: ten small jobs run live under three strategies, each queue is recorded, and the
# recording is simulated. Needs a few minutes on a machine that does nothing else.
#
#   examples/scheduling/live.sh [DIRECTORY]      results go there [default: live-study]
#
# SLOTS: workers at a time, at most the cores [default: all cores]. SCALE: makes jobs longer [default: 1].
# STRATEGIES [default: "fifo-skip srsf classes"]. HCRUN: the command [default: builds it].
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
out=${1:-live-study}
slots=${SLOTS:-$(nproc)}
scale=${SCALE:-1}
strategies=${STRATEGIES:-fifo-skip srsf classes}
if [ -z "${HCRUN:-}" ]; then
    (cd "$root" && cargo build --release --quiet -p hcrun)
    HCRUN=${CARGO_TARGET_DIR:-$root/target}/release/hcrun
fi
job=$root/examples/bank/job.toml
mkdir -p "$out"
cd "$out"

cat > cluster.toml <<END
[[zone]]
name = "private"
trust = "private"
owner = "us"
[[pool]]
name = "private"
zone = "private"
slots = $slots
END

# Steps that one worker makes in a second here, so that jobs last as long on any machine.
"$HCRUN" run "$job" --cluster cluster.toml --runs-dir calibration --quiet --json \
    --set workers.private=1 --set train.steps=500 --set train.batch=512 --set train.evaluate_every=0 > calibration.json
rate=$(sed -E 's/.*"step_time_s":\{"p50":([0-9.e-]+).*/\1/' calibration.json | awk '{ printf "%d", 1 / $1 }')
echo "$(nproc) cores, $slots slots, $rate steps a second, load $(cut -d' ' -f1-3 /proc/loadavg)" | tee machine.txt

# Seconds after the job before, seconds alone, workers, class.
jobs='0 12 1 opportunistic
1 6 2 normal
1 3 1 normal
1 8 1 normal
1 2 1 guaranteed
2 10 2 opportunistic
2 2 1 normal
2 4 2 guaranteed
2 5 1 normal
2 3 1 guaranteed'

for strategy in $strategies; do
    queue=queue-$strategy
    rm -rf "$queue"
    "$HCRUN" up --queue "$queue" --cluster cluster.toml --strategy "$strategy" 2> "$strategy.log" &
    up=$!
    trap 'kill $up 2> /dev/null || true' EXIT
    until [ -S "$queue/control.sock" ]; do sleep 0.05; done
    while read -r gap seconds workers class; do
        sleep "$gap"
        steps=$(awk "BEGIN { printf \"%d\", $seconds * $scale * $rate }")
        estimate=$(awk "BEGIN { s = $seconds * $scale + 0.5; printf \"%d\", s < 1 ? 1 : s }")
        "$HCRUN" submit "$job" --queue "$queue" --priority "$class" --estimate "$estimate" \
            --set "workers.private=$workers" --set "train.steps=$steps" --set train.batch=512 --set train.evaluate_every=0 > /dev/null
    done <<< "$jobs"
    while "$HCRUN" ps --queue "$queue" --json | grep -qE '"state":"(waiting|running|stopping)"'; do sleep 1; done
    kill "$up"
    wait "$up" || true
    "$HCRUN" record --queue "$queue" --out "$strategy.csv"
    "$HCRUN" simulate --replay "$strategy.csv" --json > "$strategy.json"
    "$HCRUN" simulate --replay "$strategy.csv" | sed '1,/^$/d' | tee "$strategy.txt"
    echo "load $(cut -d' ' -f1-3 /proc/loadavg)" | tee -a machine.txt
    echo
done

# What the recording of the first strategy says of the others, against what they really did: the work is another run's.
first=${strategies%% *}
figure() { sed -E "s/.*\"$1\":([0-9.e+-]+).*/\1/"; }
real() { sed -E "s/.*\"$2\":\{\"simulated_s\":[0-9.e+-]+,\"real_s\":([0-9.e+-]+).*/\1/" "$1.json"; }
for strategy in $strategies; do
    [ "$strategy" = "$first" ] && continue
    "$HCRUN" simulate --replay "$first.csv" --strategy "$strategy" --json | sed 's/,"replay".*//' > beforehand.json
    for pair in avg_jct_s:mean_jct makespan_s:makespan; do
        awk -v s="$(figure "${pair%:*}" < beforehand.json)" -v r="$(real "$strategy" "${pair#*:}")" \
            "BEGIN { printf \"$strategy from $first's recording: ${pair#*:} %.1f s, real %.1f s, %+.1f %%\n\", s, r, 100 * (s / r - 1) }"
    done
done | tee beforehand.txt
