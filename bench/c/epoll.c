/*
 * The same model as lab 6, in C: an echo server, one thread, level-triggered epoll, non-blocking sockets. What a client does
 * not take at once is kept for it, and until it has taken it nothing more is read from it.
 *
 * Usage: epoll [PORT]     (without PORT, or with 0, the kernel chooses one)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 128, BUFFER_SIZE = 16 * 1024, EVENTS = 256, NAME_SIZE = INET_ADDRSTRLEN + sizeof ":65535" };

struct connection {
    int fd;
    struct sockaddr_in client;
    unsigned long echoed;
    /* What write(2) did not take: it is there only while there is some. */
    char *unsent;
    size_t length, sent;
};

static int epoll;

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

static void watch(int operation, int fd, uint32_t events, void *whose)
{
    struct epoll_event event = { .events = events, .data.ptr = whose };

    if (epoll_ctl(epoll, operation, fd, &event) < 0)
        fail("epoll_ctl");
}

static void end(struct connection *connection, int is_finished)
{
    char name[NAME_SIZE];

    name_of(&connection->client, name);
    printf("%s %s: %lu bytes echoed\n", name, is_finished ? "finished" : "lost", connection->echoed);
    close(connection->fd);
    free(connection->unsent);
    free(connection);
}

/* How many of the bytes were taken, 0 if none could be now, -1 with errno when the connection broke. */
static ssize_t write_some(struct connection *connection, const char *bytes, size_t length)
{
    ssize_t written;

    do
        written = write(connection->fd, bytes, length);
    while (written < 0 && errno == EINTR);
    if (written < 0 && errno == EAGAIN)
        return 0;
    if (written > 0)
        connection->echoed += (unsigned long) written;
    return written;
}

/* The client has sent something, or is gone. */
static void echo(struct connection *connection)
{
    static char buffer[BUFFER_SIZE];
    ssize_t length = read(connection->fd, buffer, sizeof buffer);
    ssize_t written;

    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length <= 0) {
        end(connection, length == 0);
        return;
    }
    if ((written = write_some(connection, buffer, (size_t) length)) < 0) {
        end(connection, 0);
        return;
    }
    if (written == length)
        return;

    connection->length = (size_t) (length - written);
    connection->sent = 0;
    if (!(connection->unsent = malloc(connection->length)))
        fail("malloc");
    memcpy(connection->unsent, buffer + written, connection->length);
    watch(EPOLL_CTL_MOD, connection->fd, EPOLLOUT, connection);
}

/* The client has made room. */
static void go_on_writing(struct connection *connection)
{
    ssize_t written =
        write_some(connection, connection->unsent + connection->sent, connection->length - connection->sent);

    if (written < 0) {
        end(connection, 0);
        return;
    }
    connection->sent += (size_t) written;
    if (connection->sent < connection->length)
        return;
    free(connection->unsent);
    connection->unsent = NULL;
    watch(EPOLL_CTL_MOD, connection->fd, EPOLLIN, connection);
}

static void accept_all(int listener)
{
    for (;;) {
        struct sockaddr_in client;
        socklen_t length = sizeof client;
        struct connection *connection;
        char name[NAME_SIZE];
        int fd = accept4(listener, (struct sockaddr *) &client, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0 && errno == EAGAIN)
            return;
        if (fd < 0)
            fail("accept4");
        if (!(connection = calloc(1, sizeof *connection)))
            fail("calloc");
        connection->fd = fd;
        connection->client = client;
        watch(EPOLL_CTL_ADD, fd, EPOLLIN, connection);
        name_of(&client, name);
        printf("%s connected\n", name);
    }
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
    if ((listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) < 0)
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
    static struct epoll_event events[EVENTS];
    int listener;

    /* One write(2) per line, wherever the output goes. */
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    /* Who writes to a connection that was reset gets EPIPE, and lives on. */
    signal(SIGPIPE, SIG_IGN);

    listener = listen_on((in_port_t) (argc > 1 ? strtoul(argv[1], NULL, 10) : 0));
    if ((epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
        fail("epoll_create1");
    watch(EPOLL_CTL_ADD, listener, EPOLLIN, NULL);

    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);

        if (count < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;

            if (!connection)
                accept_all(listener);
            else if (connection->unsent)
                go_on_writing(connection);
            else
                echo(connection);
        }
    }
}
