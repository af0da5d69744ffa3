/* Asks a DNS server on loopback as fast as it answers, or at a steady pace, and says how that went.
 *
 *   generate udp|tcp PORT FILE [option value]...
 *
 * In: FILE, a host name a line, asked for in turn (type A, RD, EDNS 1232). Out: one line of key=value, times in
 * microseconds. Bounded in count and in time; talks to 127.0.0.1 alone, and ends when its parent ends. It never sleeps,
 * so that a server does not pay for waking it; it yields its core whenever there is nothing to do.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEADER = 12, QUERY_MAX = HEADER + 256 + 4 + 11, BATCH = 32, REPLY_MAX = 1500, SOCKETS_MAX = 64, IDS = 65536 };
enum { FRESH_DIGITS = 8, SAMPLES_MAX = 4 << 20, RECEIVE_BUFFER = 4 << 20, STREAM_OCTETS = 1 << 18 };
/* In flight at a steady pace: losses must not slow it down, and an id must not come round while its reply may come. */
enum { PACED_IN_FLIGHT_MAX = 32768 };
static const uint64_t SECOND_NS = 1000000000;
/* No reply for so long: what is in flight is lost. */
static const uint64_t PATIENCE_NS = 500000000;
static const int RECONNECTIONS_MAX = 200000;

static struct {
    bool is_tcp;
    uint16_t port;
    double seconds;     /* -t: how long */
    uint64_t count;     /* -n: how many at most */
    uint64_t rate;      /* -r: queries a second; 0 as fast as it goes */
    int in_flight_max;  /* -o: over all sockets; over TCP for each connection */
    int sockets;        /* -s: sockets or connections */
    int64_t fresh;      /* -f: the first eight octets of each name count up from here, in hex; -1 leaves them */
} wanted = {.seconds = 2, .count = UINT64_MAX, .in_flight_max = 200, .sockets = 8, .fresh = -1};

static struct query {
    uint16_t octets;
    uint8_t message[QUERY_MAX];
} *queries;
static size_t queries_len;

/* What is on its way under an id. */
static struct {
    uint64_t sent_ns;
    int16_t socket; /* -1: nothing */
} flights[IDS];

/* A socket; the rest is for TCP alone. */
static struct line {
    int fd;
    int in_flight;
    size_t in_len, out_len;
    uint8_t in[STREAM_OCTETS], out[STREAM_OCTETS];
} *lines;

static struct {
    uint64_t sent, received, lost, answered, nxdomain, other, reconnections;
    uint64_t in_flight, first_ns, last_reply_ns, silence_ns;
    uint32_t *latency_ns;
    size_t latencies;
} tally;

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

/* ---- queries ---- */

/* Writes a name in its form on the wire; returns its length. */
static size_t write_name(const char *text, uint8_t *out) {
    size_t at = 0;
    for (const char *label = text; *label;) {
        size_t len = strcspn(label, ".");
        if (len == 0 || len > 63 || at + len + 2 > 255) errx(1, "not a host name: %s", text);
        out[at++] = (uint8_t)len;
        memcpy(out + at, label, len);
        at += len;
        label += len + (label[len] == '.');
    }
    out[at++] = 0;
    return at;
}

static void write_query(const char *name, struct query *query) {
    static const uint8_t header[HEADER] = {0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1};
    static const uint8_t type_a_opt_1232[] = {0, 1, 0, 1, 0, 0, 41, 0x04, 0xD0, 0, 0, 0, 0, 0, 0};
    memcpy(query->message, header, HEADER);
    size_t at = HEADER + write_name(name, query->message + HEADER);
    memcpy(query->message + at, type_a_opt_1232, sizeof type_a_opt_1232);
    query->octets = (uint16_t)(at + sizeof type_a_opt_1232);
    if (wanted.fresh >= 0 && query->message[HEADER] < FRESH_DIGITS) errx(1, "no room for a number: %s", name);
}

static void read_queries(const char *path) {
    FILE *file = fopen(path, "r");
    char *text = NULL;
    size_t room = 0, had = 0;
    ssize_t len;
    if (!file) err(1, "%s", path);
    while ((len = getline(&text, &room, file)) > 0) {
        text[len - (text[len - 1] == '\n')] = 0;
        if (queries_len == had) queries = realloc(queries, (had = had * 2 + 1024) * sizeof *queries);
        if (!queries) err(1, "memory");
        write_query(text, &queries[queries_len++]);
    }
    if (queries_len == 0) errx(1, "%s: no names", path);
    free(text);
    fclose(file);
}

/* Copies the next query under this id; returns its length. */
static size_t next_query(uint16_t id, uint8_t *out) {
    static size_t next;
    const struct query *query = &queries[next];
    next = next + 1 == queries_len ? 0 : next + 1;
    memcpy(out, query->message, query->octets);
    out[0] = (uint8_t)(id >> 8);
    out[1] = (uint8_t)id;
    if (wanted.fresh >= 0) {
        char digits[FRESH_DIGITS + 1];
        snprintf(digits, sizeof digits, "%08x", (unsigned)wanted.fresh++);
        memcpy(out + HEADER + 1, digits, FRESH_DIGITS);
    }
    return query->octets;
}

/* ---- what is on its way ---- */

static void lose(uint16_t id) {
    if (flights[id].socket < 0) return;
    lines[flights[id].socket].in_flight--;
    flights[id].socket = -1;
    tally.in_flight--;
    tally.lost++;
}

static void lose_all_of(int socket) {
    for (int id = 0; id < IDS; id++)
        if (socket < 0 || flights[id].socket == socket) lose((uint16_t)id);
}

/* The id of a query that leaves now; whoever still had it is lost. */
static uint16_t take_off(int socket, uint64_t now) {
    uint16_t id = (uint16_t)tally.sent++;
    lose(id);
    flights[id].sent_ns = now;
    flights[id].socket = (int16_t)socket;
    lines[socket].in_flight++;
    tally.in_flight++;
    return id;
}

static void count_rcode(const uint8_t *reply) {
    int rcode = reply[3] & 15;
    bool holds_records = reply[6] || reply[7];
    if (rcode == 3) tally.nxdomain++;
    else if (rcode == 0 && holds_records) tally.answered++;
    else tally.other++;
}

/* A reply came; one that nobody waits for counts for nothing. */
static void land(int socket, const uint8_t *reply, size_t len, uint64_t now) {
    if (len < HEADER || !(reply[2] & 0x80)) return;
    uint16_t id = (uint16_t)(reply[0] << 8 | reply[1]);
    if (flights[id].socket != socket) return;
    uint64_t took = now - flights[id].sent_ns;
    if (took > UINT32_MAX) took = UINT32_MAX;
    if (tally.latencies < SAMPLES_MAX) tally.latency_ns[tally.latencies++] = (uint32_t)took;
    flights[id].socket = -1;
    lines[socket].in_flight--;
    tally.in_flight--;
    tally.received++;
    count_rcode(reply);
    tally.last_reply_ns = now;
}

static void note_silence(uint64_t since, uint64_t until) {
    if (until - since > tally.silence_ns) tally.silence_ns = until - since;
}

/* How many may leave now. */
static uint64_t room(uint64_t now) {
    uint64_t left = wanted.count - tally.sent, most = (uint64_t)wanted.in_flight_max, may;
    if (wanted.rate) {
        uint64_t due = (uint64_t)((double)(now - tally.first_ns) * 1e-9 * (double)wanted.rate);
        may = due > tally.sent ? due - tally.sent : 0;
        most = PACED_IN_FLIGHT_MAX;
        if (tally.in_flight + may > most) may = most > tally.in_flight ? most - tally.in_flight : 0;
    } else {
        may = most > tally.in_flight ? most - tally.in_flight : 0;
    }
    if (may > BATCH) may = BATCH;
    return may < left ? may : left;
}

/* ---- sockets ---- */

static int open_line(void) {
    int fd = socket(AF_INET, wanted.is_tcp ? SOCK_STREAM : SOCK_DGRAM, 0), octets = RECEIVE_BUFFER, on = 1;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(wanted.port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0) err(1, "socket");
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &octets, sizeof octets);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) err(1, "connect");
    if (wanted.is_tcp) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* ---- UDP ---- */

static uint8_t datagrams[BATCH][REPLY_MAX];
static struct iovec vectors[BATCH];
static struct mmsghdr messages[BATCH];

static void prepare_datagrams(void) {
    for (int i = 0; i < BATCH; i++) {
        vectors[i].iov_base = datagrams[i];
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
    }
}

static void send_datagrams(int socket, uint64_t many, uint64_t now) {
    for (uint64_t i = 0; i < many; i++) vectors[i].iov_len = next_query(take_off(socket, now), datagrams[i]);
    for (uint64_t sent = 0; sent < many;) {
        int more = sendmmsg(lines[socket].fd, messages + sent, (unsigned)(many - sent), 0);
        if (more < 0 && errno != EAGAIN && errno != ECONNREFUSED) err(1, "send");
        sent += more > 0 ? (uint64_t)more : errno == ECONNREFUSED;
    }
}

/* Takes what is there; says whether anything was. */
static bool receive_datagrams(int socket) {
    for (int i = 0; i < BATCH; i++) vectors[i].iov_len = REPLY_MAX;
    int got = recvmmsg(lines[socket].fd, messages, BATCH, MSG_DONTWAIT, NULL);
    uint64_t now = now_ns();
    for (int i = 0; i < got; i++) land(socket, datagrams[i], messages[i].msg_len, now);
    return got > 0;
}

/* ---- TCP ---- */

static void reconnect(int socket) {
    struct line *line = &lines[socket];
    if (++tally.reconnections > (uint64_t)RECONNECTIONS_MAX) errx(1, "connections are closed too often");
    lose_all_of(socket);
    close(line->fd);
    line->fd = open_line();
    line->in_len = line->out_len = 0;
}

static void flush_stream(int socket) {
    struct line *line = &lines[socket];
    if (!line->out_len) return;
    ssize_t sent = send(line->fd, line->out, line->out_len, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return reconnect(socket);
    if (sent <= 0) return;
    line->out_len -= (size_t)sent;
    memmove(line->out, line->out + sent, line->out_len);
}

/* Fills a connection up to its depth once half of that is answered, so that many queries share one write. */
static void send_stream(int socket, uint64_t now) {
    struct line *line = &lines[socket];
    if (line->in_flight > wanted.in_flight_max / 2) return flush_stream(socket);
    while (line->in_flight < wanted.in_flight_max && tally.sent < wanted.count
           && line->out_len + 2 + QUERY_MAX < STREAM_OCTETS) {
        uint8_t *out = line->out + line->out_len;
        size_t len = next_query(take_off(socket, now), out + 2);
        out[0] = (uint8_t)(len >> 8);
        out[1] = (uint8_t)len;
        line->out_len += 2 + len;
    }
    flush_stream(socket);
}

static void land_messages(int socket) {
    struct line *line = &lines[socket];
    uint64_t now = now_ns();
    size_t at = 0;
    while (at + 2 <= line->in_len) {
        size_t len = (size_t)line->in[at] << 8 | line->in[at + 1];
        if (at + 2 + len > line->in_len) break;
        land(socket, line->in + at + 2, len, now);
        at += 2 + len;
    }
    line->in_len -= at;
    memmove(line->in, line->in + at, line->in_len);
}

static bool receive_stream(int socket) {
    struct line *line = &lines[socket];
    ssize_t got = recv(line->fd, line->in + line->in_len, STREAM_OCTETS - line->in_len, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN)) {
        reconnect(socket);
        return false;
    }
    if (got < 0) return false;
    line->in_len += (size_t)got;
    land_messages(socket);
    return true;
}

/* ---- the run ---- */

static bool receive_all(void) {
    uint64_t before = tally.last_reply_ns;
    bool came = false;
    for (int i = 0; i < wanted.sockets; i++) came |= wanted.is_tcp ? receive_stream(i) : receive_datagrams(i);
    if (tally.last_reply_ns != before) note_silence(before, tally.last_reply_ns);
    return came;
}

static void send_some(uint64_t now) {
    static int next;
    if (wanted.is_tcp) {
        for (int i = 0; i < wanted.sockets; i++) send_stream(i, now);
        return;
    }
    uint64_t many = room(now);
    if (!many) return;
    send_datagrams(next, many, now);
    next = (next + 1) % wanted.sockets;
}

static void run(void) {
    uint64_t now = now_ns(), end = now + (uint64_t)(wanted.seconds * 1e9), heard = now;
    tally.first_ns = tally.last_reply_ns = now;
    for (; now < end && !(tally.sent >= wanted.count && !tally.in_flight); now = now_ns()) {
        send_some(now);
        if (receive_all()) {
            heard = now;
            continue;
        }
        if (!wanted.rate && tally.in_flight && now > heard + PATIENCE_NS) {
            lose_all_of(-1);
            heard = now;
        }
        sched_yield();
    }
    if (tally.in_flight) note_silence(tally.last_reply_ns, now);
    for (end = now + PATIENCE_NS; tally.in_flight && now < end; now = now_ns())
        if (!receive_all()) sched_yield();
    lose_all_of(-1);
}

static int by_size(const void *a, const void *b) {
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static double latency_us(double share) {
    if (!tally.latencies) return 0;
    return tally.latency_ns[(size_t)(share * (double)(tally.latencies - 1))] / 1e3;
}

static void report(void) {
    double seconds = (double)(tally.last_reply_ns - tally.first_ns) / 1e9;
    qsort(tally.latency_ns, tally.latencies, sizeof *tally.latency_ns, by_size);
    printf("sent=%lu received=%lu lost=%lu answered=%lu nxdomain=%lu other=%lu reconnections=%lu seconds=%.6f "
           "p50_us=%.1f p99_us=%.1f max_us=%.1f silence_us=%.1f\n",
           tally.sent, tally.received, tally.lost, tally.answered, tally.nxdomain, tally.other, tally.reconnections,
           seconds, latency_us(0.5), latency_us(0.99), latency_us(1), (double)tally.silence_ns / 1e3);
}

static void read_option(char letter, const char *value) {
    switch (letter) {
    case 't': wanted.seconds = atof(value); return;
    case 'n': wanted.count = strtoull(value, NULL, 10); return;
    case 'r': wanted.rate = strtoull(value, NULL, 10); return;
    case 'o': wanted.in_flight_max = atoi(value); return;
    case 's': wanted.sockets = atoi(value); return;
    case 'f': wanted.fresh = atoll(value); return;
    default: errx(2, "unknown option -%c", letter);
    }
}

static void read_arguments(int argc, char **argv) {
    if (argc < 4 || argc % 2) errx(2, "usage: generate udp|tcp PORT FILE [-tnrosf value]...");
    wanted.is_tcp = !strcmp(argv[1], "tcp");
    wanted.port = (uint16_t)atoi(argv[2]);
    for (int i = 4; i < argc; i += 2) read_option(argv[i][0] == '-' ? argv[i][1] : '?', argv[i + 1]);
    if (!(wanted.seconds > 0 && wanted.seconds <= 120)) errx(2, "-t: up to 120 seconds");
    if (wanted.sockets < 1 || wanted.sockets > SOCKETS_MAX) errx(2, "-s: 1 to %d", SOCKETS_MAX);
    if (wanted.in_flight_max < 1 || wanted.in_flight_max > 1024) errx(2, "-o: 1 to 1024");
    if (wanted.is_tcp && wanted.rate) errx(2, "-r is for UDP");
}

int main(int argc, char **argv) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    read_arguments(argc, argv);
    read_queries(argv[3]);
    lines = calloc((size_t)wanted.sockets, sizeof *lines);
    tally.latency_ns = malloc(SAMPLES_MAX * sizeof *tally.latency_ns);
    if (!lines || !tally.latency_ns) err(1, "memory");
    for (int id = 0; id < IDS; id++) flights[id].socket = -1;
    for (int i = 0; i < wanted.sockets; i++) lines[i].fd = open_line();
    prepare_datagrams();
    run();
    report();
}
