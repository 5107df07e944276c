/* A worker for the fault matrix: does what its arguments say, one after the other, and ends with 0.
 *
 *   @R OP...       the rest only on rank R; every other rank pauses
 *   !R OP...       the rest on every rank but R; rank R pauses
 *   exit N         end with that code               die SIG        end by that signal
 *   pause          wait for ever                    sleep MS       wait that long, whatever arrives
 *   until FILE     wait for a file                  touch NAME     make the file NAME.RANK
 *   note SIG       write the number of each such signal into got.RANK, a line each
 *   ignore SIG     ignore it                        fork KIND      leave a child behind: see leave()
 *   save MS        wait for SIGTERM, take MS, write into saved.RANK how many children lived all the time, exit 0
 *   lines N        N whole lines                    line N         N bytes without a newline
 *   text TEXT      these bytes (\n, \r, \0, \xff as in C)         orphans N      N double-forked children that end
 *
 * It is in C because a run must start and end in a moment: some rows run hundreds of times.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *rank = "0";
static int asked, children;

static int open_own(const char *name) {
    char path[256];
    snprintf(path, sizeof path, "%s.%s", name, rank);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) _exit(99);
    return fd;
}

static void put(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t done = write(fd, data, size);
        if (done < 0 && errno != EINTR) _exit(98);
        if (done > 0) { data += done; size -= done; }
    }
}

static void nap(long ms) {
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) < 0 && errno == EINTR) {}
}

static void on_note(int signum) {
    char line[16];
    int fd = open_own("got");
    put(fd, line, snprintf(line, sizeof line, "%d\n", signum));
    close(fd);
}

static void on_term(int signum) { (void)signum; asked = 1; }

static void handle(int signum, void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler};
    sigaction(signum, &action, NULL);
}

static void hold(void) { for (;;) pause(); }

/* A child that stays, of the kind: same (group), session, daemon (double fork), bare (empty environment), deaf (ignores
 * SIGTERM), chain (forks and ends, again and again), runaway (the same, each in a session of its own). */
static void leave(const char *kind) {
    pid_t child = fork();
    if (child < 0) _exit(97);
    if (child > 0) {
        children++;
        if (strcmp(kind, "daemon") == 0) { waitpid(child, NULL, 0); children--; }
        return;
    }
    handle(SIGTERM, SIG_DFL);
    if (strcmp(kind, "same") == 0) hold();
    if (strcmp(kind, "chain") == 0 || strcmp(kind, "runaway") == 0) {
        for (;;) {
            handle(SIGTERM, SIG_IGN);
            if (*kind == 'r') setsid();
            if (fork() > 0) _exit(0);
        }
    }
    setsid();
    if (strcmp(kind, "session") == 0) hold();
    if (strcmp(kind, "deaf") == 0) { handle(SIGTERM, SIG_IGN); hold(); }
    if (strcmp(kind, "daemon") == 0) { if (fork() > 0) _exit(0); setsid(); hold(); }
    if (strcmp(kind, "bare") == 0) {
        char *argv[] = {"bare", "pause", NULL}, *none[] = {NULL};
        execve("/proc/self/exe", argv, none);
    }
    _exit(96);
}

static void save(long ms) {
    handle(SIGTERM, on_term);
    close(open_own("ready"));
    sigset_t term, before;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, &before);
    while (!asked) sigsuspend(&before);  /* no signal can slip in between the look and the sleep */
    nap(ms);
    int alive = children;
    while (waitpid(-1, NULL, WNOHANG) > 0) alive--;
    char line[16];
    put(open_own("saved"), line, snprintf(line, sizeof line, "%d", alive));
    _exit(0);
}

static void lines(long count) {
    char *buffer = malloc(1 << 17);
    size_t filled = 0;
    for (long number = 0; number < count; number++) {
        filled += sprintf(buffer + filled, "%s:%ld:%.*s\n", rank, number, (int)(number % 61),
                          "-------------------------------------------------------------");
        if (filled > 1 << 16 || number == count - 1) { put(1, buffer, filled); filled = 0; }
    }
}

static void line(long bytes) {
    char *buffer = malloc(1 << 20);
    memset(buffer, 'y', 1 << 20);
    for (; bytes > 0; bytes -= 1 << 20) put(1, buffer, bytes < 1 << 20 ? bytes : 1 << 20);
}

static void text(const char *from) {
    for (; *from; from++) {
        char byte = *from;
        if (byte == '\\') {
            byte = *++from;
            byte = byte == 'n' ? '\n' : byte == 'r' ? '\r' : byte == '0' ? '\0' : '\xff';
            if (byte == '\xff') from += 2;
        }
        put(1, &byte, 1);
    }
}

static void orphans(long count) {
    for (; count > 0; count--) {
        pid_t child = fork();
        if (child < 0) _exit(95);
        if (child == 0) { if (fork() < 0) _exit(95); _exit(0); }
        int status;
        if (waitpid(child, &status, 0) < 0 || status != 0) _exit(94);
    }
}

int main(int argc, char **argv) {
    (void)argc;
    if (getenv("RANK")) rank = getenv("RANK");
    for (char **word = argv + 1; *word; word++) {
        const char *op = *word;
        if (*op == '@') { if (strcmp(op + 1, rank) != 0) hold(); continue; }
        if (*op == '!') { if (strcmp(op + 1, rank) == 0) hold(); continue; }
        if (strcmp(op, "pause") == 0) hold();
        const char *value = *++word;
        if (!value) return 93;
        long number = atol(value);
        if (strcmp(op, "exit") == 0) _exit(number);
        else if (strcmp(op, "die") == 0) {
            sigset_t all;
            sigfillset(&all);
            sigprocmask(SIG_UNBLOCK, &all, NULL);
            signal(number, SIG_DFL);
            kill(getpid(), number);
            hold();
        }
        else if (strcmp(op, "sleep") == 0) nap(number);
        else if (strcmp(op, "until") == 0) while (access(value, F_OK) != 0) sched_yield();
        else if (strcmp(op, "touch") == 0) close(open_own(value));
        else if (strcmp(op, "note") == 0) handle(number, on_note);
        else if (strcmp(op, "ignore") == 0) handle(number, SIG_IGN);
        else if (strcmp(op, "fork") == 0) leave(value);
        else if (strcmp(op, "save") == 0) save(number);
        else if (strcmp(op, "lines") == 0) lines(number);
        else if (strcmp(op, "line") == 0) line(number);
        else if (strcmp(op, "text") == 0) text(value);
        else if (strcmp(op, "orphans") == 0) orphans(number);
        else return 92;
    }
    return 0;
}
