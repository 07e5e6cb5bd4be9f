/*
 * The same model as lab 1, in C: an echo server, one client at a time.
 *
 * Usage: echo [PORT]     (without PORT, or with 0, the kernel chooses one)
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
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
static int echo(int connection, char *buffer, unsigned long *echoed)
{
    for (;;) {
        ssize_t length = read(connection, buffer, BUFFER_SIZE);

        if (length < 0 && errno == EINTR)
            continue;
        if (length <= 0)
            return (int) length;
        if (write_all(connection, buffer, (size_t) length) < 0)
            return -1;
        *echoed += (unsigned long) length;
    }
}

int main(int argc, char *argv[])
{
    static char buffer[BUFFER_SIZE];
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t length = sizeof address;
    char name[NAME_SIZE];
    int listener;

    /* One write(2) per line, wherever the output goes. */
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((in_port_t) (argc > 1 ? strtoul(argv[1], NULL, 10) : 0));

    if ((listener = socket(AF_INET, SOCK_STREAM, 0)) < 0)
        fail("socket");
    if (bind(listener, (struct sockaddr *) &address, sizeof address) < 0)
        fail("bind");
    if (listen(listener, BACKLOG) < 0)
        fail("listen");
    if (getsockname(listener, (struct sockaddr *) &address, &length) < 0)
        fail("getsockname");
    name_of(&address, name);
    printf("listening on %s\n", name);

    for (;;) {
        struct sockaddr_in client;
        socklen_t client_length = sizeof client;
        unsigned long echoed = 0;
        int connection = accept(listener, (struct sockaddr *) &client, &client_length);

        if (connection < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (connection < 0)
            fail("accept");
        name_of(&client, name);
        printf("%s connected\n", name);

        if (echo(connection, buffer, &echoed) == 0)
            printf("%s finished: %lu bytes echoed\n", name, echoed);
        else
            printf("%s lost after %lu bytes\n", name, echoed);
        close(connection);
    }
}
