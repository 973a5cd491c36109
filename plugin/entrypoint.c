/*
 * Process 1 of the managed plugin. Docker disables a plugin that dies twice within seconds, so this process does not
 * die: it starts the plugin's process again whenever that ends.
 *
 *   entrypoint                              as config.json has it
 *   entrypoint SOCKET PROGRAM [ARG ...]     for tests
 *
 * When the plugin's process ends, it kills the processes that are left, and reaps all orphans. It passes SIGTERM and
 * SIGINT on. It binds Docker's socket and hands it down as systemd does (LISTEN_FDS, descriptor 3): while there is no
 * plugin process, Docker's calls wait in the kernel instead of being refused.
 * It ends in two cases: it was told to and the plugin's process has ended, or that process asks for a new container
 * (exit code 75).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Not arguments in config.json: a search for the plugin's process by its command line must find one process. */
static char *const PLUGIN[] = {"/usr/bin/node", "/app/plugin/main.js", NULL};
/* Filled by scripts/build-plugin: sources without types, and their bytecode. */
static const char COMPILED[] = "/app/build/compiled";
static const char SOCKET[] = "/run/docker/plugins/wherry.sock";

/* plugin/main.ts, EXIT_START_AGAIN: the container holds a dead socket of the engine. */
enum { EXIT_NEW_CONTAINER = 75 };
/* systemd's first descriptor (sd_listen_fds). */
enum { LISTEN_FD = 3 };
/* Process 1 is never killed for memory. The others get what Docker's unit gives dockerd: containers go first. */
static const char OOM_NEVER[] = "-1000", OOM_AS_DOCKERD[] = "-500";
/* Two starts are at least this far apart. Doubles after each run below the longest; a longer run sets it to zero. */
enum { SHORTEST_SPACING_MS = 50, LONGEST_SPACING_MS = 1000 };

static int listener = -1;

/*
 * Never waits: nobody reads the pipe while the engine is away. Its O_NONBLOCK belongs to all who inherited it, so it is
 * opened anew. What cannot be (a socket, another user's pipe) is written to if it has room; a line is below PIPE_BUF.
 */
static void write_or_drop(const char *line, size_t length) {
  int own = open("/proc/self/fd/2", O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  ssize_t written =
      own >= 0 ? write(own, line, length) : send(STDERR_FILENO, line, length, MSG_DONTWAIT | MSG_NOSIGNAL);
  struct pollfd output = {.fd = STDERR_FILENO, .events = POLLOUT};
  if (written < 0 && errno == ENOTSOCK && poll(&output, 1, 0) == 1 && (output.revents & POLLOUT))
    written = write(STDERR_FILENO, line, length);
  (void)written;
  if (own >= 0) close(own);
}

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
  char text[512], line[sizeof text + sizeof "wherry: \n"];
  va_list values;
  va_start(values, format);
  vsnprintf(text, sizeof text, format, values);
  va_end(values);
  write_or_drop(line, (size_t)snprintf(line, sizeof line, "wherry: %s\n", text));
}

static long long now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/*
 * Without CAP_SYS_RESOURCE the kernel refuses a score below the inherited one, which then stays: -998 with the units of
 * Docker's packages, where containerd has -999.
 */
static void set_oom_score(const char *value) {
  int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  dprintf(file, "%s", value);
  close(file);
}

/*
 * Bound under another name and renamed: the old file is replaced at once, and the mode is right from the start.
 * It does not listen yet. The plugin's process does that once its settings are good: `docker plugin enable` fails until
 * then.
 */
static int bind_socket(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int length = snprintf(address.sun_path, sizeof address.sun_path, "%s.new", path);
  if (length >= (int)sizeof address.sun_path) return errno = ENAMETOOLONG, -1;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  unlink(address.sun_path);
  mode_t mask = umask(0177);
  int bound = bind(fd, (struct sockaddr *)&address, sizeof address);
  umask(mask);
  if (bound == 0 && rename(address.sun_path, path) == 0) return fd;
  int reason = errno;
  close(fd);
  return errno = reason, -1;
}

static void become_plugin(char *const *command, const sigset_t *signals) {
  char pid[16];
  set_oom_score(OOM_AS_DOCKERD);
  snprintf(pid, sizeof pid, "%d", getpid());
  setenv("LISTEN_PID", pid, 1);
  setenv("LISTEN_FDS", "1", 1);
  if (command == PLUGIN) setenv("NODE_COMPILE_CACHE", COMPILED, 1);
  setenv("MALLOC_ARENA_MAX", "1", 1);
  /* dup2 to itself would leave it to be closed by exec. */
  if (listener == LISTEN_FD) fcntl(listener, F_SETFD, 0);
  else dup2(listener, LISTEN_FD);
  sigprocmask(SIG_UNBLOCK, signals, NULL);
  signal(SIGPIPE, SIG_DFL);
  execv(command[0], command);
  say("cannot run %s: %s", command[0], strerror(errno));
  _exit(127);
}

/* The new process, or -1. */
static pid_t start(const char *path, char *const *command, const sigset_t *signals) {
  if (listener < 0) listener = bind_socket(path);
  if (listener < 0) return say("cannot bind %s: %s", path, strerror(errno)), -1;
  pid_t pid = fork();
  if (pid == 0) become_plugin(command, signals);
  if (pid < 0) say("cannot start a process: %s", strerror(errno));
  return pid;
}

/* Reaps all that have ended; 1 when `plugin` is one of them. */
static int reap(pid_t plugin, int *status) {
  int found = 0, one;
  for (pid_t pid; (pid = waitpid(-1, &one, WNOHANG)) > 0;) {
    if (pid != plugin) continue;
    found = 1;
    *status = one;
  }
  return found;
}

static int code_of(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The next signal, or 0 when `until_ms` has come. */
static int next_signal(const sigset_t *signals, long long until_ms) {
  long long left_ms = until_ms - now_ms();
  if (left_ms < 0) left_ms = 0;
  struct timespec left = {left_ms / 1000, left_ms % 1000 * 1000000};
  int signal = sigtimedwait(signals, NULL, &left);
  return signal < 0 ? 0 : signal;
}

static long long next_spacing(long long spacing_ms, long long lived_ms) {
  if (lived_ms >= LONGEST_SPACING_MS) return 0;
  if (spacing_ms == 0) return SHORTEST_SPACING_MS;
  return 2 * spacing_ms < LONGEST_SPACING_MS ? 2 * spacing_ms : LONGEST_SPACING_MS;
}

int main(int argc, char **argv) {
  const char *path = argc > 2 ? argv[1] : SOCKET;
  char *const *command = argc > 2 ? argv + 2 : PLUGIN;
  if (getpid() != 1) return say("the entrypoint must be process 1 of a container: it kills every process it sees"), 1;
  /* The kernel spares process 1 of a container; nothing rests on that. */
  signal(SIGPIPE, SIG_IGN);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGCHLD);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigprocmask(SIG_BLOCK, &signals, NULL);
  set_oom_score(OOM_NEVER);

  pid_t plugin = -1;
  int stopping = 0, status = 0;
  long long started_ms = 0, spacing_ms = 0;
  for (;;) {
    if (plugin < 0 && now_ms() >= started_ms + spacing_ms) {
      started_ms = now_ms();
      plugin = start(path, command, &signals);
      if (plugin < 0) spacing_ms = LONGEST_SPACING_MS;
    }
    int signal = plugin < 0 ? next_signal(&signals, started_ms + spacing_ms) : sigwaitinfo(&signals, NULL);
    if (signal == SIGTERM || signal == SIGINT) {
      stopping = 1;
      /* New calls are refused as soon as the plugin's process closes its own descriptor too. */
      close(listener);
      listener = -1;
      if (plugin > 0) kill(plugin, signal);
    }
    int ended = signal == SIGCHLD && reap(plugin, &status);
    if (ended) plugin = -1;
    if (plugin < 0 && (stopping || (ended && code_of(status) == EXIT_NEW_CONTAINER))) break;
    if (!ended) continue;

    /* Its agent, and the agent's nats-server: the next ones need their locks and ports, as in a new container. */
    kill(-1, SIGKILL);
    long long lived_ms = now_ms() - started_ms;
    spacing_ms = next_spacing(spacing_ms, lived_ms);
    say("the plugin's process ended with code %d after %lld ms; restarting it", code_of(status), lived_ms);
  }
  unlink(path);
  return code_of(status);
}
