/* What the kernel lets through: a loop over recvmmsg and sendmmsg that sends every datagram back.
 *
 * In: a port of 127.0.0.1 and a number of threads, each with a socket of its own on that port. Out: every DNS query
 * comes back as a reply with NXDOMAIN, changed in place in two octets. Reads nothing else in it, and ends when told to
 * or when its parent ends.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>

enum { BATCH = 32, OCTETS = 512, HEADER = 12, QR = 0x80, RA = 0x80, NXDOMAIN = 3, THREADS_MAX = 8 };
enum { RECEIVE_BUFFER = 4 << 20 };

/* One datagram's room. */
struct place {
    struct sockaddr_in client;
    uint8_t octets[OCTETS];
};

static int open_socket(uint16_t port) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1, room = RECEIVE_BUFFER;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0) err(1, "socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0) err(1, "bind");
    return fd;
}

/* The query becomes its own reply. */
static void turn_round(uint8_t *octets) {
    octets[2] |= QR;
    octets[3] = RA | NXDOMAIN;
}

static void prepare(struct mmsghdr *messages, struct iovec *vectors, struct place *places) {
    for (int i = 0; i < BATCH; i++) {
        vectors[i] = (struct iovec){places[i].octets, OCTETS};
        messages[i].msg_hdr = (struct msghdr){.msg_name = &places[i].client, .msg_iov = &vectors[i], .msg_iovlen = 1};
    }
}

static void *reflect(void *argument) {
    static __thread struct place places[BATCH];
    static __thread struct iovec vectors[BATCH];
    static __thread struct mmsghdr messages[BATCH];
    int fd = (int)(intptr_t)argument;
    prepare(messages, vectors, places);
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            vectors[i].iov_len = OCTETS;
            messages[i].msg_hdr.msg_namelen = sizeof places[i].client;
        }
        int got = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
        for (int i = 0; i < got; i++) {
            vectors[i].iov_len = messages[i].msg_len;
            if (messages[i].msg_len >= HEADER) turn_round(places[i].octets);
        }
        for (int sent = 0, more; sent < got; sent += more > 0 ? more : 1)
            more = sendmmsg(fd, messages + sent, (unsigned)(got - sent), 0);
    }
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 3) errx(2, "usage: reflector PORT THREADS");
    uint16_t port = (uint16_t)atoi(argv[1]);
    int threads = atoi(argv[2]);
    if (threads < 1 || threads > THREADS_MAX) errx(2, "1 to %d threads", THREADS_MAX);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    for (int i = 1; i < threads; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, reflect, (void *)(intptr_t)open_socket(port))) errx(1, "thread");
    }
    reflect((void *)(intptr_t)open_socket(port));
}
