/*
 * The same model as lab 7, in C: a chat server, one thread, level-triggered epoll. Each message is encoded once, put into the
 * queue of every receiver, and the queues are written once per turn of the loop.
 *
 * Of docs/chat-protocol.md it knows REGISTER and MESSAGE, with OK, ERROR, BROADCAST, JOINED and LEFT. A string is checked
 * (escapes, no bare control characters) and passed on as it was written. Left out: the other requests, `id`, the history, the
 * check of UTF-8, values that are no strings, rate limits, time-outs, the farewell at the end.
 *
 * Usage: chat [PORT]     (without PORT, or with 0, the kernel chooses one)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    BACKLOG = 128,
    EVENTS = 1024,
    BUFFER_SIZE = 64 * 1024,
    FRAME_LIMIT = 64 * 1024,
    QUEUE_LIMIT = 1024 * 1024,
    NAME_LIMIT = 32 * 4,
    FD_LIMIT = 32 * 1024,
};

struct bytes {
    char *data;
    size_t length, capacity;
};

struct span {
    const char *start;
    size_t length;
};

struct client {
    int fd;
    struct span name;              /* length 0: not registered */
    struct bytes in;               /* a line that has not ended yet */
    struct bytes out;              /* what is to be written, from `sent` on */
    size_t sent;
    int is_dirty, waits_for_room, is_gone;
};

static int epoll;
/* Those who are registered, and those who have something to be done at the end of the turn. */
static struct client *members[FD_LIMIT], *dirty[FD_LIMIT];
static size_t member_count, dirty_count;

static void fail(const char *call)
{
    perror(call);
    exit(1);
}

static void append(struct bytes *bytes, const void *data, size_t length)
{
    if (bytes->length + length > bytes->capacity) {
        while (bytes->length + length > bytes->capacity)
            bytes->capacity = bytes->capacity ? 2 * bytes->capacity : 1024;
        if (!(bytes->data = realloc(bytes->data, bytes->capacity)))
            fail("realloc");
    }
    memcpy(bytes->data + bytes->length, data, length);
    bytes->length += length;
}

static void watch(int operation, struct client *client, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = client };

    if (epoll_ctl(epoll, operation, client->fd, &event) < 0)
        fail("epoll_ctl");
}

/* Its memory stays until the end of the turn: lists may still name it. */
static void drop(struct client *client, const char *why)
{
    if (client->is_gone)
        return;
    printf("%.*s (%d) %s\n", (int) client->name.length, client->name.start, client->fd, why);
    client->is_gone = 1;
    if (!client->is_dirty) {
        client->is_dirty = 1;
        dirty[dirty_count++] = client;
    }
}

static void queue(struct client *client, const char *line, size_t length)
{
    if (client->is_gone)
        return;
    if (client->out.length - client->sent + length > QUEUE_LIMIT) {
        drop(client, "lost: SLOW_CONSUMER");
        return;
    }
    append(&client->out, line, length);
    if (!client->is_dirty) {
        client->is_dirty = 1;
        dirty[dirty_count++] = client;
    }
}

/* To everybody who is registered, except one. */
static void queue_for_others(const struct client *except, const char *line, size_t length)
{
    for (size_t i = 0; i < member_count; i++)
        if (members[i] != except)
            queue(members[i], line, length);
}

__attribute__((format(printf, 2, 3))) static void answer(struct client *client, const char *format, ...)
{
    char line[256];
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    queue(client, line, (size_t) length);
}

static void error(struct client *client, const char *request, const char *code)
{
    answer(client, "{\"type\":\"ERROR\",\"re\":\"%s\",\"code\":\"%s\",\"message\":\"see the protocol\"}\n", request, code);
}

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r'))
        at++;
    return at;
}

/* A JSON string at `at`: what stands between its quotes, as it is written. Returns what follows it, or NULL. */
static const char *read_string(const char *at, const char *end, struct span *string)
{
    if (at == end || *at++ != '"')
        return NULL;
    string->start = at;
    for (; at < end; at++) {
        if ((unsigned char) *at < ' ')
            return NULL;
        if (*at == '"') {
            string->length = (size_t) (at - string->start);
            return at + 1;
        }
        if (*at != '\\')
            continue;
        if (++at == end || !*at || !strchr("\"\\/bfnrtu", *at))
            return NULL;
        if (*at == 'u')
            for (int digit = 0; digit < 4; digit++)
                if (++at == end || !isxdigit((unsigned char) *at))
                    return NULL;
    }
    return NULL;
}

/* An object of strings. Returns 0 if it is none. */
static int read_request(const char *at, const char *end, struct span *type, struct span *data)
{
    at = skip_space(at, end);
    if (at == end || *at++ != '{')
        return 0;
    for (;;) {
        struct span key, value;

        if (!(at = read_string(skip_space(at, end), end, &key)))
            return 0;
        at = skip_space(at, end);
        if (at == end || *at++ != ':')
            return 0;
        if (!(at = read_string(skip_space(at, end), end, &value)))
            return 0;
        if (key.length == 4 && !memcmp(key.start, "type", 4))
            *type = value;
        if (key.length == 4 && !memcmp(key.start, "data", 4))
            *data = value;
        at = skip_space(at, end);
        if (at == end)
            return 0;
        if (*at == '}')
            return skip_space(at + 1, end) == end;
        if (*at++ != ',')
            return 0;
    }
}

static int is(struct span word, const char *request)
{
    return word.length == strlen(request) && !strncasecmp(word.start, request, word.length);
}

static int is_name(struct span name)
{
    for (size_t i = 0; i < name.length; i++) {
        unsigned char c = (unsigned char) name.start[i];

        if (!isalnum(c) && !strchr("-_.", c) && c < 0x80)
            return 0;
    }
    return name.length > 0 && name.length <= NAME_LIMIT;
}

static int is_taken(struct span name)
{
    for (size_t i = 0; i < member_count; i++)
        if (members[i]->name.length == name.length && !memcmp(members[i]->name.start, name.start, name.length))
            return 1;
    return 0;
}

static void tell_of(const struct client *client, const char *event)
{
    char line[64 + NAME_LIMIT];
    int length = snprintf(line, sizeof line, "{\"type\":\"%s\",\"data\":\"%.*s\"}\n", event, (int) client->name.length,
                          client->name.start);

    queue_for_others(client, line, (size_t) length);
}

static void register_as(struct client *client, struct span name)
{
    char *copy;

    if (client->name.length) {
        error(client, "REGISTER", "ALREADY_REGISTERED");
    } else if (!is_name(name)) {
        error(client, "REGISTER", "BAD_NAME");
    } else if (is_taken(name)) {
        error(client, "REGISTER", "NAME_TAKEN");
    } else {
        if (!(copy = malloc(name.length)))
            fail("malloc");
        memcpy(copy, name.start, name.length);
        client->name = (struct span) { copy, name.length };
        answer(client, "{\"type\":\"OK\",\"re\":\"REGISTER\",\"data\":\"Welcome!\"}\n");
        members[member_count++] = client;
        tell_of(client, "JOINED");
    }
}

static void message(struct client *client, struct span text)
{
    static struct bytes line;
    char time[64];
    struct timespec now;
    struct tm utc;

    if (!client->name.length) {
        error(client, "MESSAGE", "NOT_REGISTERED");
        return;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &utc);

    line.length = 0;
    append(&line, "{\"type\":\"BROADCAST\",\"from\":\"", 28);
    append(&line, client->name.start, client->name.length);
    append(&line, "\",\"data\":\"", 10);
    append(&line, text.start, text.length);
    append(&line, "\",\"time\":\"", 10);
    append(&line, time, strlen(time));
    snprintf(time, sizeof time, ".%06ldZ\"}\n", now.tv_nsec / 1000);
    append(&line, time, strlen(time));
    queue_for_others(client, line.data, line.length);
    answer(client, "{\"type\":\"OK\",\"re\":\"MESSAGE\",\"data\":%zu}\n", member_count - 1);
}

static void serve(struct client *client, const char *line, size_t length)
{
    struct span type = { 0 }, data = { 0 };

    if (!read_request(line, line + length, &type, &data))
        error(client, "", "BAD_JSON");
    else if (!is(type, "REGISTER") && !is(type, "MESSAGE"))
        error(client, "", "UNKNOWN_TYPE");
    else if (!data.start)
        error(client, is(type, "MESSAGE") ? "MESSAGE" : "REGISTER", "MISSING_DATA");
    else if (is(type, "MESSAGE"))
        message(client, data);
    else
        register_as(client, data);
}

/* The client has sent something, or is gone. */
static void receive(struct client *client)
{
    static char buffer[BUFFER_SIZE];
    ssize_t length = read(client->fd, buffer, sizeof buffer);
    const char *at = buffer, *newline, *end;

    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length <= 0) {
        drop(client, length == 0 ? "finished" : "lost");
        return;
    }
    for (end = buffer + length; (newline = memchr(at, '\n', (size_t) (end - at))); at = newline + 1) {
        if (client->in.length == 0) {
            serve(client, at, (size_t) (newline - at));
            continue;
        }
        append(&client->in, at, (size_t) (newline - at));
        serve(client, client->in.data, client->in.length);
        client->in.length = 0;
    }
    if (client->in.length + (size_t) (end - at) > FRAME_LIMIT) {
        error(client, "", "TOO_LONG");
        drop(client, "lost: TOO_LONG");
    } else if (at < end) {
        append(&client->in, at, (size_t) (end - at));
    }
}

static void flush(struct client *client)
{
    ssize_t written = write(client->fd, client->out.data + client->sent, client->out.length - client->sent);

    if (written < 0 && errno != EAGAIN && errno != EINTR) {
        drop(client, "lost");
        return;
    }
    if (written > 0)
        client->sent += (size_t) written;
    if (client->sent == client->out.length) {
        client->sent = client->out.length = 0;
    } else {
        memmove(client->out.data, client->out.data + client->sent, client->out.length - client->sent);
        client->out.length -= client->sent;
        client->sent = 0;
    }
    if (client->waits_for_room != (client->out.length > 0)) {
        client->waits_for_room = client->out.length > 0;
        watch(EPOLL_CTL_MOD, client, client->waits_for_room ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
}

static void forget(struct client *client)
{
    for (size_t i = 0; i < member_count; i++) {
        if (members[i] == client) {
            members[i] = members[--member_count];
            tell_of(client, "LEFT");
        }
    }
    close(client->fd);
    free((void *) client->name.start);
    free(client->in.data);
    free(client->out.data);
    free(client);
}

/* The end of a turn: one write for all that has come together for a client. Who leaves makes others dirty once more. */
static void flush_all(void)
{
    static struct client *turn[FD_LIMIT];

    while (dirty_count > 0) {
        size_t count = dirty_count;

        memcpy(turn, dirty, count * sizeof *turn);
        dirty_count = 0;
        for (size_t i = 0; i < count; i++) {
            struct client *client = turn[i];

            client->is_dirty = 0;
            if (client->out.length > client->sent)
                flush(client);
            if (!client->is_gone)
                continue;
            /* If it was the flush that found it gone, it has just become dirty again. */
            if (client->is_dirty)
                dirty_count--;
            forget(client);
        }
    }
}

static void accept_all(int listener)
{
    int on = 1;

    for (;;) {
        struct client *client;
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0 && errno == EAGAIN)
            return;
        if (fd < 0)
            fail("accept4");
        if (fd >= FD_LIMIT) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (!(client = calloc(1, sizeof *client)))
            fail("calloc");
        client->fd = fd;
        watch(EPOLL_CTL_ADD, client, EPOLLIN);
        printf("(%d) connected\n", fd);
    }
}

static int listen_on(in_port_t port)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t length = sizeof address;
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
    printf("listening on 127.0.0.1:%u\n", (unsigned) ntohs(address.sin_port));
    return listener;
}

int main(int argc, char *argv[])
{
    static struct epoll_event events[EVENTS];
    static struct client listener;

    /* One write(2) per line, wherever the output goes. */
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    /* Who writes to a connection that was reset gets EPIPE, and lives on. */
    signal(SIGPIPE, SIG_IGN);

    listener.fd = listen_on((in_port_t) (argc > 1 ? strtoul(argv[1], NULL, 10) : 0));
    if ((epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
        fail("epoll_create1");
    watch(EPOLL_CTL_ADD, &listener, EPOLLIN);

    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);

        if (count < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < count; i++) {
            struct client *client = events[i].data.ptr;

            if (client == &listener)
                accept_all(listener.fd);
            else if (!client->is_gone && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                receive(client);
            else if (!client->is_gone)
                flush(client);
        }
        flush_all();
    }
}
