#!/bin/bash
# Exit 0 if this mongod is the primary. mongosh keeps a log of every run in its home, so it gets one for just this run.
set -euo pipefail

HOME=$(mktemp -d)
export HOME
trap 'rm -rf "$HOME"' EXIT
mongosh --quiet --norc 'mongodb://127.0.0.1:27017/?directConnection=true&serverSelectionTimeoutMS=4000' \
    --eval 'quit(db.hello().isWritablePrimary ? 0 : 1)'
