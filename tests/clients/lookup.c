/* Asks the C library it is built with for a name, as most programs do.
 *
 *   lookup NAME
 *
 * Prints `ok ADDRESS...`, or `noname` (there is no such name, for good), `again` (try later) or `error N`. Exits 0, 2, 3 or 1.
 */

#define _POSIX_C_SOURCE 200809L

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

static const void *address_of(const struct addrinfo *it)
{
    if (it->ai_family == AF_INET6)
        return &((const struct sockaddr_in6 *)it->ai_addr)->sin6_addr;
    return &((const struct sockaddr_in *)it->ai_addr)->sin_addr;
}

static int tell_failure(int code)
{
    switch (code) {
    case EAI_NONAME:
        puts("noname");
        return 2;
    case EAI_AGAIN:
        puts("again");
        return 3;
    default:
        printf("error %d\n", code);
        return 1;
    }
}

int main(int argc, char **argv)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found, *it;
    char text[INET6_ADDRSTRLEN];

    if (argc != 2)
        return 1;
    int code = getaddrinfo(argv[1], "80", &hints, &found);
    if (code != 0)
        return tell_failure(code);
    printf("ok");
    for (it = found; it; it = it->ai_next)
        printf(" %s", inet_ntop(it->ai_family, address_of(it), text, sizeof text));
    puts("");
    freeaddrinfo(found);
    return 0;
}
