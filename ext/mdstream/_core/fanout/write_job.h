/* One write to a socket, for the interface in fanout and its implementation in net. */
#ifndef MDSTREAM_WRITE_JOB_H
#define MDSTREAM_WRITE_JOB_H

#include <sys/types.h>

struct mds_job {
    int fd;
    const char *data;
    ssize_t size;
    ssize_t sent; /* the result: bytes that the socket took, maybe none; negative: it is broken */
};

#endif
