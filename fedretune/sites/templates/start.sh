#!/bin/sh
# Starts this hospital's SuperNode, which connects outwards to the server and listens on 127.0.0.1.
cd "$(dirname "$0")" || exit 1
umask 077
export FLWR_HOME="$PWD/flower" FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# bin/ has the flwr-clientapp that runs the pinned app bundle alone, and a flower-supernode that
# looks for work more often.
export PATH="$PWD/bin:@PYTHON_BIN@:$PATH"
# SuperExec looks for work once a second unless told otherwise.
export FLWR_SUPEREXEC_TASK_POLL_INTERVAL="${FLWR_SUPEREXEC_TASK_POLL_INTERVAL:-0.2}"
# Has the imports behind it when a message comes; ends with the SuperNode. Several sites of one
# machine may share one, at FEDRETUNE_WARM_SOCKET.
[ -n "$FEDRETUNE_WARM_SOCKET" ] || @WARM@ warm.socket @MODULES@ &
exec flower-supernode \
    --superlink @SUPERLINK@ \
    --root-certificates @ROOT_CERTIFICATE@ \
    --auth-supernode-private-key @PRIVATE_KEY@ \
    --node-config @NODE_CONFIG@ \
    --host 127.0.0.1 --port @PORT@ \
    "$@"
