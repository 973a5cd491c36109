import { WITNESS } from './witness.ts'

/** A database as the lab runs it: shell of the image `databases`, with a volume at /data. */
export interface LabDatabase {
  readonly name: string
  /** Makes /data ready when it is new, starts the server in the background and waits until it answers. */
  readonly start: string
  /** Takes numbers from its input, writes a row for each, and prints it when the row is on the disk. */
  readonly write: string
  /** The engine's own checks, before and after `start`; they fail when they find damage. */
  readonly checkFiles: string
  readonly check: string
  /** Prints the number of each row. */
  readonly read: string
  /** What the engine prints when it begins with what a crash left. */
  readonly recovered: RegExp
  /** What the engine prints of data that it cannot use. */
  readonly broken: RegExp
}

const MARIADB = [
  'mariadbd --no-defaults --user=root --datadir=/data/db --skip-grant-tables --skip-networking --socket=/tmp/socket',
  '--pid-file=/tmp/pid --innodb-log-file-size=16M --innodb-buffer-pool-size=32M --innodb-flush-log-at-trx-commit=1',
].join(' ')
const MARIADB_TABLES = '/usr/share/mysql/mysql_system_tables.sql /usr/share/mysql/mysql_system_tables_data.sql'

const mariadb: LabDatabase = {
  name: 'mariadb',
  start: `
    if [ ! -e /data/db ]; then
      mkdir /data/db
      { printf 'create database mysql;\\nuse mysql;\\n'; cat ${MARIADB_TABLES}; } | ${MARIADB} --bootstrap
    fi
    ${MARIADB} &
    until mariadb -S /tmp/socket -e 'create database if not exists lab;
      create table if not exists lab.ledger (n bigint primary key, text varchar(2000)) engine=innodb' 2>/dev/null
    do sleep 0.2; done`,
  write: `while read n; do echo "insert into ledger values ($n, repeat('x', 2000)); select $n;"; done |
    mariadb -S /tmp/socket -N -B --unbuffered lab`,
  checkFiles: 'true',
  check: "mariadb-check -S /tmp/socket --extended --all-databases | tee /tmp/checked; ! grep -v 'OK$' /tmp/checked",
  read: "mariadb -S /tmp/socket -N -B lab -e 'select n from ledger order by n'",
  recovered: /InnoDB: Starting crash recovery from checkpoint/,
  broken: /\[ERROR\]|corrupt|Assertion/i,
}

const redis: LabDatabase = {
  name: 'redis',
  start: `
    redis-server --port 0 --unixsocket /tmp/socket --dir /data --save '' --appendonly yes --appendfsync always &
    until [ "$(redis-cli -s /tmp/socket ping)" = PONG ]; do sleep 0.2; done`,
  write: 'while read n; do echo "RPUSH ledger $n"; done | redis-cli -s /tmp/socket',
  checkFiles: 'redis-check-aof /data/appendonlydir/appendonly.aof.manifest',
  check: 'redis-cli -s /tmp/socket info persistence | grep aof_last_write_status:ok',
  read: 'redis-cli -s /tmp/socket lrange ledger 0 -1',
  recovered: /DB loaded from incr file/,
  broken: /Bad file format|corrupt|truncat|panic/i,
}

const sqlite: LabDatabase = {
  name: 'sqlite',
  start: `sqlite3 -batch -bail /data/db '
    pragma journal_mode=wal; create table if not exists ledger (n integer primary key, text)'`,
  write: `{ echo '.output /dev/null'
    echo 'pragma synchronous=full;'
    while read n; do
      echo "insert into ledger values ($n, hex(randomblob(1000))); select writefile('/dev/stdout', '$n' || char(10));"
    done; } | sqlite3 -batch -bail /data/db`,
  checkFiles: '[ "$(sqlite3 /data/db "pragma integrity_check")" = ok ]',
  check: '[ "$(sqlite3 /data/db "pragma foreign_key_check; pragma quick_check")" = ok ]',
  read: "sqlite3 /data/db 'select n from ledger order by n'",
  recovered: /^wal$/m,
  broken: /malformed|corrupt|not a database/i,
}

/** By its number: the image has no /etc/hosts of its own. */
const ETCD = [
  'etcd --data-dir /data/etcd --logger zap',
  '--listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379',
  '--listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380',
  '--initial-cluster default=http://127.0.0.1:2380',
].join(' ')

const etcd: LabDatabase = {
  name: 'etcd',
  start: `
    ${ETCD} &
    until etcdctl get none 2>/dev/null; do sleep 0.2; done`,
  // A put that is given up may have happened all the same: none is, however busy the machine.
  write: `while read n; do
    etcdctl --dial-timeout=60s --command-timeout=60s put "ledger/$(printf %08d $n)" $n >/dev/null && echo $n
  done`,
  checkFiles: 'etcdctl snapshot status /data/etcd/member/snap/db',
  // Each row is one revision of the store: none is missing in between.
  check: `etcdctl endpoint health
    etcdctl endpoint hashkv
    etcdctl get --prefix ledger/ -w fields |
      awk '/ModRevision/ {
        if (last && $3 != last + 1) { print "revision " last " is followed by " $3; exit 1 }
        last = $3
      }'`,
  read: 'etcdctl get --prefix ledger/ --print-value-only',
  recovered: /restarting local member/,
  broken: /"level":"(?:error|fatal|panic)"|^panic:|crc mismatch/,
}

export const DATABASES: readonly LabDatabase[] = [mariadb, redis, sqlite, etcd]

/** Shell that serves and writes rows until its end, each told to the witness when it is on the disk. */
export function writer({ name, start, write }: LabDatabase): string {
  const numbers = 'n=0; while :; do n=$((n+1)); echo $n; sleep 0.01; done'
  const told = `while read n; do echo "$n ${name}"; done | nc ${WITNESS.address} ${WITNESS.port}`
  return `${start}\n{ ${numbers}; } | { ${write}; } | ${told}\nwait`
}

/** Shell that serves what a crash left, has the engine check it, and prints `row N` for each row. */
export function checker({ start, checkFiles, check, read }: LabDatabase): string {
  return `set -e\n${checkFiles}\n${start}\n${check}\n${read} | sed 's/^/row /'\necho checked`
}
