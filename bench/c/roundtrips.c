/* An echo between two processes over loopback: writes the µs that a round trip of 64 bytes takes, the median of ten lots, to
   a file. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LOTS = 10, SIZE = 64 };

static void fail(const char *call) { perror(call); exit(1); }

static void serve(int listener) {
    char data[SIZE];
    ssize_t count;
    int connection = accept(listener, NULL, NULL);
    if (connection < 0) fail("accept");
    while ((count = recv(connection, data, SIZE, 0)) > 0)
        if (send(connection, data, count, 0) != count) fail("send");
    _exit(0);
}

static double microseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static int smaller_first(const void *a, const void *b) {
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    double lots[LOTS];
    char data[SIZE] = {0};
    int trips = argc == 3 ? atoi(argv[1]) / LOTS : 0;
    if (trips < 1) return fprintf(stderr, "usage: roundtrips COUNT FILE\n"), 2;

    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 1)) fail("listen");
    if (getsockname(listener, (struct sockaddr *)&address, &length)) fail("getsockname");
    if (fork() == 0) serve(listener);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(client, (struct sockaddr *)&address, length)) fail("connect");
    for (int lot = 0; lot < LOTS; lot++) {
        double begun = microseconds();
        for (int trip = 0; trip < trips; trip++) {
            if (send(client, data, SIZE, 0) != SIZE) fail("send");
            if (recv(client, data, SIZE, MSG_WAITALL) != SIZE) fail("recv");
        }
        lots[lot] = (microseconds() - begun) / trips;
    }
    close(client);
    wait(NULL);
    qsort(lots, LOTS, sizeof *lots, smaller_first);
    FILE *result = fopen(argv[2], "w");
    if (!result || fprintf(result, "%.3f\n", (lots[LOTS / 2 - 1] + lots[LOTS / 2]) / 2) < 0 || fclose(result)) fail("write");
    return 0;
}
