/* libutp's core alone, as benchmarks/core.py has pknet's: two contexts in memory, no socket, a virtual clock.
 *
 *     libutp_core WINDOW BYTES OBJECT
 *     libutp_core WINDOW BYTES
 *
 * Prints the nanoseconds of processor time for each full packet's worth of payload; without OBJECT those of
 * copying it three times. OBJECT is a shared object that exports libutp's C interface. It may be an addon of
 * Node.js: nothing else of it is called.
 */

#define _GNU_SOURCE

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

enum {
    DATAGRAM = 1402,
    HEADER = 20,
    PAYLOAD = DATAGRAM - HEADER,
    BLOCK = 1 << 16,
    /* libutp has no more under way. */
    MAX_PACKETS = 1024,
    /* Each way, in microseconds. libutp takes a delay of 0 for no measurement, and its window would not grow. */
    DELAY = 250,
    /* The most round trips until the window is full. */
    PATIENCE = 100000,
};

/* What of libutp's interface is used, with its numbers. */
enum {
    LIBUTP_VERSION = 2,
    ON_ACCEPT = 1,
    ON_ERROR = 3,
    ON_READ = 4,
    GET_MILLISECONDS = 11,
    GET_MICROSECONDS = 12,
    SENDTO = 15,
    SNDBUF = 19,
    RCVBUF = 20,
};

typedef struct {
    void *context;
    void *socket;
    size_t size;
    uint32_t flags;
    int callback;
    const uint8_t *data;
    union {
        const struct sockaddr *address;
        int error;
    };
    socklen_t address_size;
} Arguments;

typedef uint64_t Callback(Arguments *);

static struct {
    void *(*init)(int version);
    void (*set_callback)(void *context, int name, Callback *callback);
    int (*context_set_option)(void *context, int option, int value);
    void *(*context_set_userdata)(void *context, void *userdata);
    void *(*context_get_userdata)(void *context);
    void *(*create_socket)(void *context);
    int (*connect)(void *socket, const struct sockaddr *to, socklen_t size);
    ssize_t (*write)(void *socket, void *data, size_t size);
    void (*read_drained)(void *socket);
    int (*process_udp)(
        void *context, const uint8_t *data, size_t size, const struct sockaddr *from, socklen_t from_size);
    void (*issue_deferred_acks)(void *context);
    void (*check_timeouts)(void *context);
} utp;

/* One end, and the datagrams that it has sent and that have not arrived yet. */
typedef struct {
    void *context;
    void *socket;
    struct sockaddr_in address;
    size_t sent;
    struct {
        size_t size;
        uint8_t data[DATAGRAM];
    } under_way[MAX_PACKETS];
} End;

static End sender, receiver;
static uint64_t now = 1000000;
static uint64_t received;
static uint8_t block[BLOCK], buffer[BLOCK];

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

/* The addon calls it when it is loaded; what it tells is of no use here. */
void napi_module_register(void *module);
void napi_module_register(void *module) {
    (void)module;
}

static uint64_t milliseconds(Arguments *arguments) {
    (void)arguments;
    return now / 1000;
}

static uint64_t microseconds(Arguments *arguments) {
    (void)arguments;
    return now;
}

static uint64_t on_error(Arguments *arguments) {
    fprintf(stderr, "libutp reports error %d\n", arguments->error);
    exit(1);
}

static uint64_t on_accept(Arguments *arguments) {
    receiver.socket = arguments->socket;
    return 0;
}

static uint64_t on_send(Arguments *arguments) {
    End *end = utp.context_get_userdata(arguments->context);
    if (end->sent == MAX_PACKETS || arguments->size > DATAGRAM) {
        fail("libutp has sent more than there is room for");
    }
    end->under_way[end->sent].size = arguments->size;
    memcpy(end->under_way[end->sent].data, arguments->data, arguments->size);
    end->sent++;
    return 0;
}

/* The program's buffer is filled again and again, as by read_into. */
static uint64_t on_read(Arguments *arguments) {
    size_t place = received % BLOCK, size = arguments->size;
    size_t until_end = size < BLOCK - place ? size : BLOCK - place;
    memcpy(buffer + place, arguments->data, until_end);
    memcpy(buffer, arguments->data + until_end, size - until_end);
    received += size;
    return 0;
}

static void start_end(End *end, uint32_t address, int window) {
    void *context = end->context = utp.init(LIBUTP_VERSION);
    utp.context_set_userdata(context, end);
    utp.context_set_option(context, SNDBUF, window);
    utp.context_set_option(context, RCVBUF, window);
    utp.set_callback(context, ON_ACCEPT, on_accept);
    utp.set_callback(context, ON_ERROR, on_error);
    utp.set_callback(context, ON_READ, on_read);
    utp.set_callback(context, GET_MILLISECONDS, milliseconds);
    utp.set_callback(context, GET_MICROSECONDS, microseconds);
    utp.set_callback(context, SENDTO, on_send);
    end->address.sin_family = AF_INET;
    end->address.sin_addr.s_addr = htonl(address);
    end->address.sin_port = htons(1);
}

static void carry(End *from, End *to) {
    size_t count = from->sent;
    now += DELAY;
    for (size_t i = 0; i < count; i++) {
        utp.process_udp(
            to->context,
            from->under_way[i].data,
            from->under_way[i].size,
            (const struct sockaddr *)&from->address,
            sizeof from->address);
    }
    if (from->sent != count) {
        fail("libutp has answered itself");
    }
    from->sent = 0;
    if (to->socket != NULL) {
        utp.read_drained(to->socket);
    }
    utp.issue_deferred_acks(to->context);
}

/* Carry all that the window allows, and the answer; return how much payload was under way. */
static uint64_t turn(void) {
    uint64_t before = received;
    while (utp.write(sender.socket, block, BLOCK) == BLOCK) {
    }
    carry(&sender, &receiver);
    carry(&receiver, &sender);
    utp.check_timeouts(sender.context);
    utp.check_timeouts(receiver.context);
    return received - before;
}

static double cpu_nanoseconds(void) {
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return used.tv_sec * 1e9 + used.tv_nsec;
}

static void *symbol(void *object, const char *name) {
    void *found = dlsym(object, name);
    if (found == NULL) {
        fail(dlerror());
    }
    return found;
}

static void load(const char *path) {
    /* Lazily: the addon's other symbols are those of a Node.js that is not here. */
    void *object = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    if (object == NULL) {
        fail(dlerror());
    }
    /* ISO C has no cast from void * to a function, POSIX has the assignment through one. */
    *(void **)&utp.init = symbol(object, "utp_init");
    *(void **)&utp.set_callback = symbol(object, "utp_set_callback");
    *(void **)&utp.context_set_option = symbol(object, "utp_context_set_option");
    *(void **)&utp.context_set_userdata = symbol(object, "utp_context_set_userdata");
    *(void **)&utp.context_get_userdata = symbol(object, "utp_context_get_userdata");
    *(void **)&utp.create_socket = symbol(object, "utp_create_socket");
    *(void **)&utp.connect = symbol(object, "utp_connect");
    *(void **)&utp.write = symbol(object, "utp_write");
    *(void **)&utp.read_drained = symbol(object, "utp_read_drained");
    *(void **)&utp.process_udp = symbol(object, "utp_process_udp");
    *(void **)&utp.issue_deferred_acks = symbol(object, "utp_issue_deferred_acks");
    *(void **)&utp.check_timeouts = symbol(object, "utp_check_timeouts");
}

static double transfer(uint64_t window, uint64_t size, const char *path) {
    load(path);
    start_end(&sender, 0xC0000201, (int)window);
    start_end(&receiver, 0xC0000202, (int)window);
    sender.socket = utp.create_socket(sender.context);
    utp.connect(sender.socket, (const struct sockaddr *)&receiver.address, sizeof receiver.address);
    int turns = 0;
    while (turn() + 2 * PAYLOAD <= window) {
        if (++turns == PATIENCE) {
            fail("the window has not become full");
        }
    }
    uint64_t before = received;
    double started = cpu_nanoseconds();
    while (received - before < size) {
        turn();
    }
    return (cpu_nanoseconds() - started) / (received - before) * PAYLOAD;
}

/* Copy from block to queue to datagrams to buffer, a window at a time. */
static double copy(uint64_t window, uint64_t size) {
    /* Volatile, or a compiler may find that nobody looks at what is copied. */
    void *(*volatile copied)(void *, const void *, size_t) = memcpy;
    uint64_t packets = window / PAYLOAD, moved = 0;
    uint8_t *queue = calloc(packets, PAYLOAD), *datagrams = calloc(packets, PAYLOAD);
    if (queue == NULL || datagrams == NULL) {
        fail("there is no memory");
    }
    uint64_t in_block = BLOCK / PAYLOAD;
    double started = cpu_nanoseconds();
    while (moved < size) {
        for (uint64_t i = 0; i < packets; i++) {
            copied(queue + i * PAYLOAD, block + i % in_block * PAYLOAD, PAYLOAD);
        }
        for (uint64_t i = 0; i < packets; i++) {
            copied(datagrams + i * PAYLOAD, queue + i * PAYLOAD, PAYLOAD);
        }
        for (uint64_t i = 0; i < packets; i++) {
            copied(buffer + i % in_block * PAYLOAD, datagrams + i * PAYLOAD, PAYLOAD);
        }
        moved += packets * PAYLOAD;
    }
    return (cpu_nanoseconds() - started) / moved * PAYLOAD;
}

int main(int count, char **arguments) {
    if (count < 3) {
        fail("libutp_core WINDOW BYTES [OBJECT]");
    }
    uint64_t window = strtoull(arguments[1], NULL, 10), size = strtoull(arguments[2], NULL, 10);
    printf("%.1f\n", count > 3 ? transfer(window, size, arguments[3]) : copy(window, size));
    return 0;
}
