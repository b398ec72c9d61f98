/* What the agent must not do: a static glibc left to look up names as nsswitch.conf says. */
#include <netdb.h>

int main(int count, char **arguments)
{
    struct addrinfo *found;
    return count != 2 || getaddrinfo(arguments[1], "80", 0, &found) != 0;
}
