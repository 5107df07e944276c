/* The floor of every launcher: starts a command so many times and waits for all of them.
   usage: floor RANKS COMMAND... */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

extern char **environ;

int main(int argc, char **argv)
{
    int ranks = argc > 2 ? atoi(argv[1]) : 0, status, failed = 0;
    char number[16];
    pid_t pid;

    for (int rank = 0; rank < ranks; rank++) {
        snprintf(number, sizeof number, "%d", rank);
        setenv("RANK", number, 1);
        if (posix_spawn(&pid, argv[2], NULL, NULL, argv + 2, environ))
            return 126;
    }
    while (wait(&status) > 0)
        failed |= status;
    return failed != 0;
}
