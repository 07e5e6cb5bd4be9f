/*
 * The same model as lab 3, in C: an echo server with a process per client, as in Stevens, Fenner, Rudoff: UNIX Network
 * Programming, volume 1, chapter 5.
 *
 * Usage: fork [PORT]     (without PORT, or with 0, the kernel chooses one)
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BACKLOG = 128, BUFFER_SIZE = 64 * 1024, NAME_SIZE = INET_ADDRSTRLEN + sizeof ":65535" };

static void fail(const char *call)
{
    perror(call);
    exit(1);
}

static void name_of(const struct sockaddr_in *address, char name[NAME_SIZE])
{
    char ip[INET_ADDRSTRLEN];

    inet_ntop(AF_INET, &address->sin_addr, ip, sizeof ip);
    snprintf(name, NAME_SIZE, "%s:%u", ip, (unsigned) ntohs(address->sin_port));
}

/* Returns 0 when all bytes were taken, -1 with errno otherwise. */
static int write_all(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, bytes, length);

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -1;
        bytes += written;
        length -= (size_t) written;
    }
    return 0;
}

/* Returns 0 after the client's FIN, -1 with errno when the connection broke. */
static int echo(int connection, unsigned long *echoed)
{
    static char buffer[BUFFER_SIZE];

    for (;;) {
        ssize_t length = read(connection, buffer, sizeof buffer);

        if (length < 0 && errno == EINTR)
            continue;
        if (length <= 0)
            return (int) length;
        if (write_all(connection, buffer, (size_t) length) < 0)
            return -1;
        *echoed += (unsigned long) length;
    }
}

/* The child's whole life: one client. */
static void serve(int connection, const char *name)
{
    unsigned long echoed = 0;
    int end = echo(connection, &echoed);

    close(connection);
    if (end == 0)
        printf("%s finished: %lu bytes echoed by child %d\n", name, echoed, (int) getpid());
    else
        printf("%s lost after %lu bytes by child %d\n", name, echoed, (int) getpid());
}

/* SIGCHLD: one signal may stand for many children. */
static void reap(int signal)
{
    int saved = errno;

    (void) signal;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    errno = saved;
}

static int listen_on(in_port_t port)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t length = sizeof address;
    char name[NAME_SIZE];
    int on = 1;
    int listener;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    if ((listener = socket(AF_INET, SOCK_STREAM, 0)) < 0)
        fail("socket");
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
        fail("setsockopt");
    if (bind(listener, (struct sockaddr *) &address, sizeof address) < 0)
        fail("bind");
    if (listen(listener, BACKLOG) < 0)
        fail("listen");
    if (getsockname(listener, (struct sockaddr *) &address, &length) < 0)
        fail("getsockname");
    name_of(&address, name);
    printf("listening on %s\n", name);
    return listener;
}

int main(int argc, char *argv[])
{
    struct sigaction action = { .sa_handler = reap };
    int listener;

    /* One write(2) per line, wherever the output goes. */
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);

    sigemptyset(&action.sa_mask);
    if (sigaction(SIGCHLD, &action, NULL) < 0)
        fail("sigaction");
    listener = listen_on((in_port_t) (argc > 1 ? strtoul(argv[1], NULL, 10) : 0));

    for (;;) {
        struct sockaddr_in client;
        socklen_t length = sizeof client;
        char name[NAME_SIZE];
        int connection = accept(listener, (struct sockaddr *) &client, &length);
        pid_t child;

        if (connection < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (connection < 0)
            fail("accept");
        name_of(&client, name);

        child = fork();
        if (child < 0) {
            perror("fork");
        } else if (child == 0) {
            close(listener);
            serve(connection, name);
            _exit(0);
        } else {
            printf("%s connected: child %d\n", name, (int) child);
        }
        close(connection);
    }
}
