#!/usr/bin/perl
# Stands for systemd's docker.socket on a lab host: listens on the engine's sockets, hands them to each dockerd it
# starts
# (`-H fd://`), and keeps them when dockerd dies. A plugin that has the socket bind-mounted so reaches the next dockerd
# too, as on a machine where Docker came from its packages.
#
#   engine-sockets.pl SOCKET,SOCKET DOCKERD ARGUMENT...      starts dockerd once for each line it reads
use strict;
use warnings;
use POSIX qw(dup2 WNOHANG);
use Socket;

my ($paths, @dockerd) = @ARGV;
$^F = 255;    # what is opened from here on is inherited over exec
my @sockets;
for my $path (split /,/, $paths) {
    socket(my $socket, AF_UNIX, SOCK_STREAM, 0) or die "socket: $!\n";
    unlink $path;
    bind($socket, pack_sockaddr_un($path)) or die "$path: $!\n";
    listen($socket, SOMAXCONN) or die "$path: $!\n";
    push @sockets, $socket;
}

# A handler and not IGNORE: that one would be passed on, and dockerd could wait for none of its children.
$SIG{CHLD} = sub { 1 while waitpid(-1, WNOHANG) > 0 };

while (<STDIN>) {
    my $pid = fork // die "fork: $!\n";
    next if $pid;
    # sd_listen_fds(3): the sockets begin at descriptor 3. First out of each other's way.
    my @high = map { dup2(fileno($sockets[$_]), 100 + $_) } 0 .. $#sockets;
    POSIX::close(fileno $_) for @sockets;
    dup2($high[$_], 3 + $_) for 0 .. $#high;
    POSIX::close($_) for @high;
    $ENV{LISTEN_FDS} = @sockets;
    $ENV{LISTEN_PID} = $$;
    open STDIN, '<', '/dev/null';
    exec @dockerd or die "$dockerd[0]: $!\n";
}
# The owner has gone without taking the host along: the engine stays as it is.
sleep 3600 while 1;
