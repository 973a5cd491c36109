#!/bin/sh
# Makes a database cluster in an empty volume, then becomes the server. Arguments go to the server.
set -e

as_postgres() { su postgres -s /bin/sh -c "$@"; }

parent=$(dirname "$PGDATA")
if [ ! -e "$PGDATA" ]; then
  # Under another name first: a cluster that was cut off while it was made is never started.
  rm -rf "$PGDATA.new"
  chown postgres:postgres "$parent"
  as_postgres 'initdb --pgdata "$PGDATA.new" --auth trust --encoding UTF8 --locale C'
  {
    echo "listen_addresses = '*'"
    echo "jit = off"
  } >>"$PGDATA.new/postgresql.conf"
  echo 'host all all all trust' >>"$PGDATA.new/pg_hba.conf"
  sync
  mv "$PGDATA.new" "$PGDATA"
  sync
fi

exec su postgres -s /bin/sh -c 'exec postgres "$@"' -- sh "$@"
