/* The smallest worker: writes the time at which it was up, then leaves or waits.
   usage: worker STAMPS [wait]   appends "SECONDS.NANOSECONDS\n" of CLOCK_MONOTONIC to the file STAMPS */
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct timespec now;
    char line[64];
    int file, length;

    clock_gettime(CLOCK_MONOTONIC, &now);
    length = snprintf(line, sizeof line, "%ld.%09ld\n", (long)now.tv_sec, now.tv_nsec);
    file = open(argv[1], O_WRONLY | O_APPEND | O_CREAT, 0644);
    if (file < 0 || write(file, line, length) != length)
        return 1;
    if (argc > 2)
        pause();
    return 0;
}
