#!/bin/sh
# One training of three rounds between two nodes of this machine: a parameter
# server and a trainer, each with a daemon, a job and a bridge of its own.
#
#   make build && sh examples/round.sh
set -eu
cd "$(dirname "$0")/.."
export PATH="$PWD/bin:$PATH" PYTHONPATH="$PWD/clients/python"
dir=$(mktemp -d)

# Two nodes that know each other. On two machines: no --repo, no --listen.
server() { hypha-node --repo "$dir/server" "$@"; }
worker() { hypha-node --repo "$dir/worker" "$@"; }
hypha-node --repo "$dir/server" daemon --listen /ip4/127.0.0.1/tcp/0 & daemons=$!
hypha-node --repo "$dir/worker" daemon --listen /ip4/127.0.0.1/tcp/0 & daemons="$daemons $!"
trap 'kill $daemons; wait; rm -rf "$dir"' EXIT
until server id --online && worker id --online; do sleep 0.1; done >/dev/null 2>&1
worker connect "$(server id --json | sed 's/.*"addresses":\["\([^"]*\)".*/\1/')"
SERVER=$(server id --json | sed 's/.*"peer_id":"\([^"]*\)".*/\1/')
WORKER=$(worker id --json | sed 's/.*"peer_id":"\([^"]*\)".*/\1/')

# A model, by its content; hf:// and https:// references work as well.
python3 examples/tensors.py new "$dir/model.safetensors" 100000
MODEL=ipfs://$(server add -q "$dir/model.safetensors")

# One job on both nodes: who knows its id, and is in its list, may send to it.
JOB=round-$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')
server job run --id "$JOB" --peer "$WORKER" \
	--config '{"model":"'"$MODEL"'","rounds":3,"trainers":["'"$WORKER"'"]}' -- python3 "$PWD/examples/server.py" & job=$!
worker job run --id "$JOB" --peer "$SERVER" \
	--config '{"model":"'"$MODEL"'","rounds":3,"server":"'"$SERVER"'","shard":0}' -- python3 "$PWD/examples/trainer.py"
wait $job
