/** What `wherry --help` says. */
export const HELP = `Usage: wherry COMMAND [OPTION ...]

  ls                              volumes, who holds them, and how old their newest checkpoints are
  inspect VOLUME                  everything about one volume
  hosts                           all hosts, their free space, zone, whether they are drained or cannot write their disk
  promote VOLUME [--accept-loss]  let a volume go on without its holder, which is lost or cannot release it; with
                                  --accept-loss also without data that only that host has
  rm VOLUME [--force] [--accept-loss]
                                  remove a volume from all hosts; with --force also one that services or containers
                                  refer to: running ones are killed; with --accept-loss also one whose holder is lost
  verify VOLUME                   read this host's copy of an idle volume again, all of it, and compare it with its
                                  checkpoint; exit code 1 if it is damaged
  drain [--off] [--no-wait]       move all copies away from this host, and say when they are gone; --off: end that
  metrics                         this host's metrics in Prometheus' text format
  recover                         write the records of a lost registry anew, from the disks of all hosts

  --json          answer as JSON, for programs
  --socket PATH   the agent's socket, default /var/lib/wherry/agent.sock
`
