/* The smallest worker, so that launchers are measured and not Python.

   usage: worker STAMPS RANKS [wait | fail HOW [MILLISECONDS] | leave | save MILLISECONDS | write LINES]

   Appends "up SECONDS" of CLOCK_MONOTONIC to the file STAMPS, and leaves, or:
   wait    until a signal ends it
   fail    as wait; when all are up (and so much later), rank 3 notes "fail SECONDS" and ends: HOW is an exit code, or
           -SIGNAL
   leave   as fail 7, and rank 3 leaves a child behind that is in a session of its own
   save    on SIGTERM it takes so long, notes "saved SECONDS" and exits with 0
   write   so many lines of 96 bytes to standard output; notes "wrote SECONDS" that this took */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *stamps;
static int milliseconds;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void note(const char *what, double seconds)
{
    char line[64];
    int length = snprintf(line, sizeof line, "%s %.9f\n", what, seconds);
    int file = open(stamps, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0 || write(file, line, length) != length)
        _exit(99);
    close(file);
}

static void pause_for(int ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&time, NULL);
}

static int rank(void)
{
    static const char *names[] = {"OMPI_COMM_WORLD_RANK", "RANK", "RANK_ID", "LOCAL_RANK"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (getenv(names[i]))
            return atoi(getenv(names[i]));
    return -1;
}

static int noted(void)
{
    static char content[1 << 16];
    int file = open(stamps, O_RDONLY | O_CLOEXEC), lines = 0;
    ssize_t length = file < 0 ? 0 : read(file, content, sizeof content);
    for (ssize_t i = 0; i < length; i++)
        lines += content[i] == '\n';
    close(file);
    return lines;
}

static void save(int signal)
{
    (void)signal;
    pause_for(milliseconds);
    note("saved", now());
    _exit(0);
}

static void fail(int ranks, int how, int later)
{
    while (noted() < ranks)
        pause_for(1);
    pause_for(later);
    note("fail", now());
    if (how >= 0)
        _exit(how);
    kill(getpid(), -how);
}

static void leave(void)
{
    if (fork() == 0) {
        setsid();
        pause();
    }
}

static void write_lines(long lines)
{
    char buffer[96 * 640], line[128];
    double start = now();
    for (long n = 0; n < lines;) {
        int filled = 0;
        for (; n < lines && filled < (int)sizeof buffer; n++, filled += 96) {
            snprintf(line, sizeof line, "%010ld %084d", n, 0);
            memcpy(buffer + filled, line, 95);
            buffer[filled + 95] = '\n';
        }
        for (int at = 0; at < filled;) {
            ssize_t written = write(1, buffer + at, filled - at);
            if (written <= 0)
                _exit(98);
            at += written;
        }
    }
    note("wrote", now() - start);
}

int main(int argc, char **argv)
{
    double up = now();
    const char *mode = argc > 3 ? argv[3] : "";
    int ranks = argc > 2 ? atoi(argv[2]) : 0;

    stamps = argv[1];
    if (!strcmp(mode, "save")) {
        milliseconds = atoi(argv[4]);
        signal(SIGTERM, save);
    }
    note("up", up);
    if (!strcmp(mode, "write"))
        write_lines(atol(argv[4]));
    else if (*mode) {
        if (rank() == 3 && !strcmp(mode, "leave")) {
            leave();
            fail(ranks, 7, 0);
        }
        if (rank() == 3 && !strcmp(mode, "fail"))
            fail(ranks, atoi(argv[4]), argc > 5 ? atoi(argv[5]) : 0);
        for (;;)
            pause();
    }
    return 0;
}
