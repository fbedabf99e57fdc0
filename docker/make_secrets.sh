#!/bin/sh
# Make what docker compose needs, where it is not there yet: .env with the database's passwords, and the directory secrets
# with the files that the service reads. A secret in a file stands in no environment, which others could look at.
set -eu
cd "$(dirname "$0")/.."

random() {
  od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

umask 077
if [ ! -e .env ]; then
  while IFS= read -r line; do
    case $line in
      [A-Z]*=) printf '%s%s\n' "$line" "$(random)" ;;
      *) printf '%s\n' "$line" ;;
    esac
  done <.env.example >.env
fi
mkdir -p secrets
# The container's user is another one than this: the directory keeps others of this machine out.
umask 022
if [ ! -e secrets/mongodb_uri ]; then
  password=$(sed -n 's/^MONGODB_SERVICE_PASSWORD=//p' .env)
  printf 'mongodb://service:%s@mongodb:27017/?replicaSet=rs0&authSource=admin\n' "$password" >secrets/mongodb_uri
fi
# Where JWT_JWKS is set in .env, this one must be empty.
[ -e secrets/jwt_secret ] || random >secrets/jwt_secret
