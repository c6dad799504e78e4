/* Both ends of a storm of TLS connections, in C with OpenSSL: the floor for bench_tls.py, and the clients for both servers.
 *
 *   tls_storm serve CERT KEY            one process, one epoll; prints its port; each client gets one answer to its request
 *   tls_storm load PORT SECONDS PROCESSES [HEADER]   full handshakes one after the other; prints connections and failures
 *
 * The floor does what any server of this kind must do for a connection, and nothing else: accept, handshake, read a request up to
 * its empty line, answer 101 with a frame of the size of `welcome`, and notice the end. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WELCOME 480

typedef struct { SSL *ssl; int fd; int open; int size; char request[4096]; } Client;

static char answer[4096];
static int answer_size;

static void fail(const char *what) { perror(what); ERR_print_errors_fp(stderr); exit(1); }

static void make_answer(void) {
    answer_size = sprintf(answer, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
                                  "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
    answer[answer_size++] = (char)0x81;
    answer[answer_size++] = 126;
    answer[answer_size++] = (char)(WELCOME >> 8);
    answer[answer_size++] = (char)(WELCOME & 255);
    memset(answer + answer_size, 'x', WELCOME);
    answer_size += WELCOME;
}

static SSL_CTX *server_context(const char *cert, const char *key) {
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_num_tickets(context, 1);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    if (SSL_CTX_use_certificate_chain_file(context, cert) != 1 || SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        fail("certificate");
    return context;
}

static void drop(Client *client) {
    SSL_free(client->ssl);
    close(client->fd);
    free(client);
}

/* What is there to do for a client that can be read; 0 once it has ended. */
static int advance(Client *client) {
    int got;
    if (!client->open) {
        if ((got = SSL_accept(client->ssl)) != 1) return SSL_get_error(client->ssl, got) == SSL_ERROR_WANT_READ;
        client->open = 1;
    }
    while ((got = SSL_read(client->ssl, client->request + client->size, (int)sizeof client->request - client->size - 1)) > 0) {
        client->size += got;
        client->request[client->size] = 0;
        if (strstr(client->request, "\r\n\r\n")) {
            SSL_write(client->ssl, answer, answer_size);
            client->size = 0;
        }
    }
    return SSL_get_error(client->ssl, got) == SSL_ERROR_WANT_READ;
}

static void serve(const char *cert, const char *key) {
    SSL_CTX *context = server_context(cert, key);
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), epoll = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) fail("listen");
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    struct epoll_event event = {.events = EPOLLIN}, events[256];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            Client *client = events[i].data.ptr;
            if (client != NULL) {
                if (!advance(client)) drop(client);
                continue;
            }
            int fd;
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                client = calloc(1, sizeof *client);
                client->fd = fd;
                client->ssl = SSL_new(context);
                SSL_set_fd(client->ssl, fd);
                struct epoll_event added = {.events = EPOLLIN, .data.ptr = client};
                epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &added);
            }
        }
    }
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* One connection: full handshake, request, the head of the answer, and its end by a reset. */
static int one_connection(SSL_CTX *context, const struct sockaddr_in *address, const char *request) {
    char buffer[8192];
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1, got = 0, size = 0, right = 0;
    struct linger reset = {1, 0};
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    SSL *ssl = SSL_new(context);
    if (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 && SSL_set_fd(ssl, fd) && SSL_connect(ssl) == 1 &&
        SSL_write(ssl, request, (int)strlen(request)) > 0) {
        while (size < (int)sizeof buffer - 1 && (got = SSL_read(ssl, buffer + size, (int)sizeof buffer - 1 - size)) > 0) {
            size += got;
            buffer[size] = 0;
            char *end = strstr(buffer, "\r\n\r\n");
            if (end != NULL && buffer + size > end + 4) break; /* the first frame has begun */
        }
        right = size > 12 && memcmp(buffer, "HTTP/1.1 101", 12) == 0;
    }
    SSL_free(ssl);
    close(fd);
    return right;
}

static void load(int port, double seconds, const char *header, int out) {
    char request[8192];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    snprintf(request, sizeof request, "GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s%s\r\n", port, header, *header ? "\r\n" : "");
    long done[2] = {0, 0};
    for (double end = now() + seconds; now() < end;) done[!one_connection(context, &address, request)]++;
    if (write(out, done, sizeof done) != sizeof done) fail("write");
}

int main(int count, char **words) {
    signal(SIGPIPE, SIG_IGN);
    make_answer();
    if (count == 4 && !strcmp(words[1], "serve")) serve(words[2], words[3]);
    if (count < 5 || strcmp(words[1], "load")) return 2;
    int pipes[2], processes = atoi(words[4]);
    long all[2] = {0, 0}, done[2];
    if (pipe(pipes)) fail("pipe");
    for (int i = 0; i < processes; i++)
        if (fork() == 0) {
            load(atoi(words[2]), atof(words[3]), count > 5 ? words[5] : "", pipes[1]);
            _exit(0);
        }
    close(pipes[1]);
    while (read(pipes[0], done, sizeof done) == sizeof done) { all[0] += done[0]; all[1] += done[1]; }
    while (wait(NULL) > 0) {}
    printf("%ld %ld\n", all[0], all[1]);
    return 0;
}
