#!/bin/sh
# Starts this federation's SuperLink: TLS, registered sites alone, a database that survives it.
cd "$(dirname "$0")" || exit 1
umask 077
export FLWR_HOME="$PWD/flower" FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1
export HF_HUB_OFFLINE=1
export PATH="@PYTHON_BIN@:$PATH"
# It looks for work once a second unless told otherwise.
export FLWR_SUPEREXEC_TASK_POLL_INTERVAL="${FLWR_SUPEREXEC_TASK_POLL_INTERVAL:-0.2}"
exec flower-superlink \
    --ssl-ca-certfile ca.crt --ssl-certfile server.crt --ssl-keyfile server.key \
    --enable-supernode-auth \
    --database superlink.db \
    --disable-runtime-dependency-installation \
    --host @BIND@ --port @PORT@ \
    "$@"
