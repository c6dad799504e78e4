/* Sends to many sockets with one system call: io_uring(7) of Linux 6.1 and later, by raw system calls.
 *
 * Every send is MSG_DONTWAIT, so it is complete when the call returns: the kernel does not read the caller's memory afterwards. */
#ifndef MDSTREAM_URING_H
#define MDSTREAM_URING_H

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "fanout/write_job.h"

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

#ifdef __linux__
#if __has_include(<linux/io_uring.h>)
#include <linux/io_uring.h>
#endif
#endif

#ifdef IORING_SETUP_DEFER_TASKRUN
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct mds_ring {
    int fd;             /* 0: none */
    unsigned mask, *sq_tail, *cq_head, *cq_tail, cq_mask;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
    void *rings;
    size_t rings_size, sqes_size;
};

static void mds_ring_close(struct mds_ring *ring)
{
    if (ring->rings && ring->rings != MAP_FAILED)
        munmap(ring->rings, ring->rings_size);
    if (ring->sqes && (void *)ring->sqes != MAP_FAILED)
        munmap(ring->sqes, ring->sqes_size);
    if (ring->fd > 0)
        close(ring->fd);
    memset(ring, 0, sizeof *ring);
}

static void *mds_ring_map(const struct mds_ring *ring, size_t size, off_t what)
{
    return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, what);
}

/* Makes a ring for `entries` sends, a power of two. Returns 0 or a negative error number. */
static int mds_ring_open(struct mds_ring *ring, unsigned entries)
{
    struct io_uring_params p;
    size_t sq_size, cq_size;
    unsigned *sq_array, i;
    int fd;
    memset(&p, 0, sizeof p);
    p.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL;
    fd = (int)syscall(SYS_io_uring_setup, entries, &p);
    if (fd < 0)
        return -errno;
    ring->fd = fd;
    sq_size = p.sq_off.array + p.sq_entries * sizeof(unsigned);
    cq_size = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
    ring->rings_size = sq_size > cq_size ? sq_size : cq_size;
    ring->sqes_size = p.sq_entries * sizeof(struct io_uring_sqe);
    ring->rings = mds_ring_map(ring, ring->rings_size, IORING_OFF_SQ_RING);
    ring->sqes = (struct io_uring_sqe *)mds_ring_map(ring, ring->sqes_size, IORING_OFF_SQES);
    if (ring->rings == MAP_FAILED || (void *)ring->sqes == MAP_FAILED) {
        i = (unsigned)errno;
        mds_ring_close(ring);
        return -(int)i;
    }
    ring->mask = p.sq_entries - 1;
    ring->cq_mask = p.cq_entries - 1;
    ring->sq_tail = (unsigned *)((char *)ring->rings + p.sq_off.tail);
    ring->cq_head = (unsigned *)((char *)ring->rings + p.cq_off.head);
    ring->cq_tail = (unsigned *)((char *)ring->rings + p.cq_off.tail);
    ring->cqes = (struct io_uring_cqe *)((char *)ring->rings + p.cq_off.cqes);
    sq_array = (unsigned *)((char *)ring->rings + p.sq_off.array);
    for (i = 0; i < p.sq_entries; i++)
        sq_array[i] = i;
    return 0;
}

static unsigned mds_ring_reap(struct mds_ring *ring, struct mds_job *jobs)
{
    unsigned head = *ring->cq_head, tail = __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE), n = tail - head;
    for (; head != tail; head++) {
        const struct io_uring_cqe *cqe = &ring->cqes[head & ring->cq_mask];
        jobs[cqe->user_data].sent = cqe->res;
    }
    __atomic_store_n(ring->cq_head, head, __ATOMIC_RELEASE);
    return n;
}

/* Tries all jobs, at most as many as there are entries. Returns 0, or a negative error number: then the ring is of no more use, and
 * the jobs that it did not reach keep their `sent`. */
static int mds_ring_send(struct mds_ring *ring, struct mds_job *jobs, unsigned count)
{
    unsigned i, done, tail = *ring->sq_tail;
    long taken;
    for (i = 0; i < count; i++) {
        struct io_uring_sqe *sqe = &ring->sqes[(tail + i) & ring->mask];
        memset(sqe, 0, sizeof *sqe);
        sqe->opcode = IORING_OP_SEND;
        sqe->fd = jobs[i].fd;
        sqe->addr = (unsigned long)jobs[i].data;
        sqe->len = (unsigned)jobs[i].size;
        sqe->msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL;
        sqe->user_data = i;
    }
    __atomic_store_n(ring->sq_tail, tail + count, __ATOMIC_RELEASE);
    do
        taken = syscall(SYS_io_uring_enter, ring->fd, count, count, IORING_ENTER_GETEVENTS, NULL, 0);
    while (taken < 0 && errno == EINTR);
    if (taken < 0)
        return -errno;
    done = mds_ring_reap(ring, jobs);
    while (done < taken) {      /* not with Linux 6.18, where a send that may not wait completes within the call */
        if (syscall(SYS_io_uring_enter, ring->fd, 0, taken - done, IORING_ENTER_GETEVENTS, NULL, 0) < 0 && errno != EINTR)
            return -errno;
        done += mds_ring_reap(ring, jobs);
    }
    return taken == (long)count ? 0 : -EBUSY;
}

#else
struct mds_ring { int fd; };
static int mds_ring_open(struct mds_ring *ring, unsigned entries) { (void)ring; (void)entries; return -ENOSYS; }
static void mds_ring_close(struct mds_ring *ring) { (void)ring; }
static int mds_ring_send(struct mds_ring *ring, struct mds_job *jobs, unsigned count)
{
    (void)ring;
    (void)jobs;
    (void)count;
    return -ENOSYS;
}
#endif
#endif
