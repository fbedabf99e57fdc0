#!/bin/bash
# Make the key file that members of a replica set know each other by, and start mongod as the image does.
# mongod refuses a key file that others can read; this one lies in a tmpfs, so it is made again at every start.
set -euo pipefail

rm -f /tmp/key
umask 377
# Any text makes a key: mongod takes 6 to 1,024 characters of base64, and hexadecimal digits are such.
printf '%s' "$MONGODB_KEY_SECRET" | sha512sum | cut -d ' ' -f 1 >/tmp/key
umask 077
unset MONGODB_KEY_SECRET

exec docker-entrypoint.sh "$@"
