from libc.stdint cimport int64_t

import os

from mdstream.errors import BenchError

cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <dlfcn.h>
    #include <errno.h>
    #include <stddef.h>
    #include <stdint.h>

    /* What is used of OpenSSL 1.1.1 or 3, as its manual pages declare it: result, name, parameters. */
    #define MDB_OPENSSL(F) \\
        F(const void *, TLS_client_method, (void)) \\
        F(void *, SSL_CTX_new, (const void *)) \\
        F(void, SSL_CTX_free, (void *)) \\
        F(long, SSL_CTX_ctrl, (void *, int, long, void *)) \\
        F(int, SSL_CTX_load_verify_locations, (void *, const char *, const char *)) \\
        F(int, SSL_CTX_set_default_verify_paths, (void *)) \\
        F(void, SSL_CTX_set_verify, (void *, int, void *)) \\
        F(void *, SSL_new, (void *)) \\
        F(void, SSL_free, (void *)) \\
        F(int, SSL_set_fd, (void *, int)) \\
        F(long, SSL_ctrl, (void *, int, long, void *)) \\
        F(int, SSL_set1_host, (void *, const char *)) \\
        F(void *, SSL_get0_param, (void *)) \\
        F(int, X509_VERIFY_PARAM_set1_ip_asc, (void *, const char *)) \\
        F(int, SSL_connect, (void *)) \\
        F(int, SSL_read, (void *, void *, int)) \\
        F(int, SSL_write, (void *, const void *, int)) \\
        F(int, SSL_get_error, (const void *, int)) \\
        F(long, SSL_get_verify_result, (const void *)) \\
        F(const char *, X509_verify_cert_error_string, (long)) \\
        F(unsigned long, ERR_peek_error, (void)) \\
        F(const char *, ERR_reason_error_string, (unsigned long)) \\
        F(void, ERR_clear_error, (void))

    #define MDB_MEMBER(result, name, parameters) result (*name) parameters;
    static struct { MDB_OPENSSL(MDB_MEMBER) } mdb_ssl;

    enum { MDB_WANT_READ = 2, MDB_WANT_WRITE = 3, MDB_SYSCALL = 5, MDB_ZERO_RETURN = 6 };
    /* SSL_MODE_ENABLE_PARTIAL_WRITE, ACCEPT_MOVING_WRITE_BUFFER, RELEASE_BUFFERS */
    enum { MDB_MODES = 0x1 | 0x2 | 0x10, MDB_CTRL_MODE = 33, MDB_CTRL_READ_AHEAD = 41, MDB_CTRL_HOSTNAME = 55, MDB_LEAST_CTRL = 123 };
    enum { MDB_TLS12 = 0x0303, MDB_VERIFY_PEER = 1 };

    /* The name of what is missing; NULL: all is there. */
    static const char *mdb_tls_load(void)
    {
        void *library = dlopen("libssl.so.3", RTLD_NOW | RTLD_LOCAL);
        if (!library)
            library = dlopen("libssl.so.1.1", RTLD_NOW | RTLD_LOCAL);
        if (!library)
            return "libssl.so.3";
    #define MDB_FIND(result, name, parameters) \\
        if (!(mdb_ssl.name = (result (*) parameters)dlsym(library, #name))) \\
            return #name;
        MDB_OPENSSL(MDB_FIND)
        return NULL;
    }
    static void *mdb_tls_context(const char *ca, int *trusts)
    {
        void *context = mdb_ssl.SSL_CTX_new(mdb_ssl.TLS_client_method());
        if (!context)
            return NULL;
        mdb_ssl.SSL_CTX_ctrl(context, MDB_CTRL_MODE, MDB_MODES, NULL);
        mdb_ssl.SSL_CTX_ctrl(context, MDB_CTRL_READ_AHEAD, 1, NULL);
        mdb_ssl.SSL_CTX_ctrl(context, MDB_LEAST_CTRL, MDB_TLS12, NULL);
        mdb_ssl.SSL_CTX_set_verify(context, MDB_VERIFY_PEER, NULL);
        *trusts = ca ? mdb_ssl.SSL_CTX_load_verify_locations(context, ca, NULL) : mdb_ssl.SSL_CTX_set_default_verify_paths(context);
        mdb_ssl.ERR_clear_error();
        return context;
    }
    static inline void mdb_tls_context_free(void *context)
    {
        if (context)
            mdb_ssl.SSL_CTX_free(context);
    }
    static void *mdb_tls_begin(void *context, int fd, const char *host)
    {
        struct in_addr address;
        void *tls = mdb_ssl.SSL_new(context);
        if (!tls)
            return NULL;
        if (inet_pton(AF_INET, host, &address) == 1)
            mdb_ssl.X509_VERIFY_PARAM_set1_ip_asc(mdb_ssl.SSL_get0_param(tls), host);
        else {
            mdb_ssl.SSL_set1_host(tls, host);
            mdb_ssl.SSL_ctrl(tls, MDB_CTRL_HOSTNAME, 0, (void *)host);
        }
        mdb_ssl.SSL_set_fd(tls, fd);
        return tls;
    }
    static inline void mdb_tls_free(void *tls)
    {
        if (tls)
            mdb_ssl.SSL_free(tls);
    }
    static inline int mdb_tls_handshake(void *tls)
    {
        int done = mdb_ssl.SSL_connect(tls);
        int error = done == 1 ? 0 : mdb_ssl.SSL_get_error(tls, done);
        return done == 1 ? 0 : error == MDB_WANT_READ ? 1 : error == MDB_WANT_WRITE ? 2 : 3;
    }
    static const char *mdb_tls_problem(void *tls)
    {
        long verified = mdb_ssl.SSL_get_verify_result(tls);
        unsigned long error = mdb_ssl.ERR_peek_error();
        const char *why = verified ? mdb_ssl.X509_verify_cert_error_string(verified) : error ? mdb_ssl.ERR_reason_error_string(error) : NULL;
        mdb_ssl.ERR_clear_error();
        return why ? why : "it hung up in the TLS handshake";
    }
    /* What SSL_read or SSL_write without success means, as a result of recv or send. */
    static int64_t mdb_tls_why(void *tls, int outcome)
    {
        int error = mdb_ssl.SSL_get_error(tls, outcome), number = errno;
        if (error == MDB_WANT_READ || error == MDB_WANT_WRITE)
            return -EAGAIN;
        mdb_ssl.ERR_clear_error();
        if (error == MDB_ZERO_RETURN || (error == MDB_SYSCALL && !number))
            return 0;
        return error == MDB_SYSCALL ? -number : -EPROTO;
    }
    /* Record by record until the room is full or nothing more has come; the end, or a failure, shows at the next call. */
    static int64_t mdb_tls_recv(void *tls, char *to, size_t room)
    {
        size_t got = 0;
        int last = 0;
        errno = 0;
        while (got < room && (last = mdb_ssl.SSL_read(tls, to + got, (int)(room - got))) > 0)
            got += (size_t)last;
        if (got == room)
            return (int64_t)got;
        int64_t why = mdb_tls_why(tls, last);
        return got ? (int64_t)got : why;
    }
    static int64_t mdb_tls_send(void *tls, const char *source, size_t size)
    {
        int sent;
        errno = 0;
        sent = mdb_ssl.SSL_write(tls, source, (int)size);
        return sent > 0 ? sent : mdb_tls_why(tls, sent);
    }
    """
    const char* mdb_tls_load()
    void* mdb_tls_context(const char* ca, int* trusts)
    void mdb_tls_context_free(void* context) noexcept nogil
    void* mdb_tls_begin(void* context, int fd, const char* host) noexcept nogil
    void mdb_tls_free(void* tls) noexcept nogil
    int mdb_tls_handshake(void* tls) noexcept nogil
    const char* mdb_tls_problem(void* tls) noexcept nogil
    int64_t mdb_tls_recv(void* tls, char* to, size_t room) noexcept nogil
    int64_t mdb_tls_send(void* tls, const char* source, size_t size) noexcept nogil


cdef void* tls_context(str ca) except NULL:
    cdef const char* missing = mdb_tls_load()
    cdef bytes file = os.fsencode(ca)
    cdef int trusts = 0
    cdef void* context
    if missing != NULL:
        raise BenchError(f"TLS needs OpenSSL, and {missing.decode()} is not there: install it (Debian: libssl3), or measure without TLS")
    context = mdb_tls_context(<const char*>file if file else NULL, &trusts)
    if context == NULL:
        raise MemoryError("no memory for TLS")
    if not trusts:
        mdb_tls_context_free(context)
        raise BenchError(f"--ca {ca}: no certificates in PEM can be read there")
    return context


cdef void tls_context_free(void* context) noexcept nogil:
    mdb_tls_context_free(context)


cdef void* tls_begin(void* context, int fd, const char* host) noexcept nogil:
    return mdb_tls_begin(context, fd, host)


cdef void tls_free(void* tls) noexcept nogil:
    mdb_tls_free(tls)


cdef Step tls_handshake(void* tls) noexcept nogil:
    return <Step>mdb_tls_handshake(tls)


cdef const char* tls_problem(void* tls) noexcept nogil:
    return mdb_tls_problem(tls)


cdef int64_t tls_recv(void* tls, void* to, size_t room) noexcept nogil:
    return mdb_tls_recv(tls, <char*>to, room)


cdef int64_t tls_send(void* tls, const void* source, size_t size) noexcept nogil:
    return mdb_tls_send(tls, <const char*>source, size)
