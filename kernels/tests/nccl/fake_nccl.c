// A libnccl.so.2 without a GPU. Ranks are threads or processes: what each asks for it leaves in a file beside this library, and
// once all have, each does its own part of it on memory of the host, adding from the last rank to the first. A stream is the
// address of a counter of what has not ended yet.
//
// FAKE_NCCL, a variable or a file beside this library, chooses what is wrong with it: old, no-version, hangs, crashes; absent: the
// last rank of several is never met; wrong: the first element of a sum, or of what the last rank gives, is one more; busy=N: each
// call is in progress for N polls; breaks=CODE@N: poll N of a communicator after its first operation, counted from 0, answers
// CODE for what was asked before. FAKE_NCCL_FAILS=CALL=CODE: that call answers CODE. FAKE_NCCL_BLOCKS=CALL: it never returns.
// FAKE_NCCL_LOG: a file that gets a line a call of init, finalize, destroy and abort. FAKE_NCCL_HOME: without the settings that
// keep NCCL on its node no id is made.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nccl.h"

typedef ncclResult_t status;

// The folder of this library, with a slash.
static const char *folder(void) {
    static char path[PATH_MAX];
    Dl_info about;
    if (!path[0] && dladdr(folder, &about)) {
        char whole[PATH_MAX];
        if (!realpath(about.dli_fname, whole)) abort();
        snprintf(path, sizeof path, "%.*s", (int)(strrchr(whole, '/') + 1 - whole), whole);
    }
    return path;
}
// A variable, or else what stands in a file of its name: processes that others start have few variables.
static const char *setting(const char *name) {
    static __thread char text[4][PATH_MAX];
    static __thread int next;
    const char *value = getenv(name);
    if (value) return value;
    char path[PATH_MAX + 64], *line = text[next++ % 4];
    snprintf(path, sizeof path, "%s%s", folder(), name);
    FILE *file = fopen(path, "r");
    value = file && fgets(line, PATH_MAX, file) ? line : NULL;
    if (file) fclose(file);
    return value;
}

static int is(const char *mode) {
    const char *chosen = setting("FAKE_NCCL");
    return chosen && strcmp(chosen, mode) == 0;
}
// What stands behind "name=" in a variable; null without it.
static const char *behind(const char *variable, const char *name) {
    const char *value = setting(variable);
    const size_t length = strlen(name);
    return value && strncmp(value, name, length) == 0 && value[length] == '=' ? value + length + 1 : NULL;
}
static status failing(const char *call) {
    const char *blocked = setting("FAKE_NCCL_BLOCKS");
    while (blocked && strcmp(blocked, call) == 0) pause();
    const char *code = behind("FAKE_NCCL_FAILS", call);
    return code ? (status)atoi(code) : ncclSuccess;
}
#define FAIL_IF_TOLD                                    \
    do {                                                \
        const status told = failing(__func__);          \
        if (told != ncclSuccess) return told;           \
    } while (0)

enum { MAX_RANKS = 8, MAX_CALLS = 64 };
enum kind { ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER, REDUCE, BROADCAST };
// All ranks ask for the same.
struct asked {
    enum kind kind;
    size_t count;
    ncclDataType_t type;
    ncclRedOp_t op;
    int root;
};
struct operation {
    struct asked asked;
    const void *from;
    void *to;
    struct ncclComm *comm;
    int64_t *pending;
    int is_told;
    struct operation *next;
};
struct ncclComm {
    uint64_t id;
    int ranks, rank, rounds, done, busy, polls, finalizing;
    status wrong;
    // What was asked for and is not done, the oldest first.
    struct operation *first, **last;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int ids;

static void note(const char *what, int rank) {
    const char *path = setting("FAKE_NCCL_LOG");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file) return;
    fprintf(file, "%s %d\n", what, rank);
    fclose(file);
}

status ncclGetVersion(int *version) {
    while (is("hangs")) pause();
    if (is("crashes")) abort();
    *version = is("old") ? 21706 : NCCL_VERSION_CODE + 100;
    return is("no-version") ? ncclInternalError : ncclSuccess;
}
const char *ncclGetErrorString(status code) {
    return code == ncclInvalidArgument ? "invalid argument"
           : code == ncclRemoteError   ? "remote process exited or there was a network error"
           : code < ncclNumResults     ? "another error"
                                       : "unknown result code";
}
const char *ncclGetLastError(ncclComm_t comm) { return " words of the last error\n"; }
status ncclGetUniqueId(ncclUniqueId *id) {
    FAIL_IF_TOLD;
    const char *interface = getenv("NCCL_SOCKET_IFNAME"), *watched = getenv("NCCL_RAS_ENABLE");
    if (setting("FAKE_NCCL_HOME") && (!interface || strcmp(interface, "=lo") != 0 || !watched || strcmp(watched, "0") != 0))
        return ncclInvalidUsage;
    memset(id, 0xA5, sizeof *id);
    pthread_mutex_lock(&lock);
    const uint64_t number = (uint64_t)getpid() << 16 | (unsigned)++ids;
    pthread_mutex_unlock(&lock);
    memcpy(id->internal, &number, sizeof number);
    return ncclSuccess;
}

// What a rank has left for the others: `joined`, `final`, or the number of an operation.
static void name(char *path, const struct ncclComm *comm, const char *what, int number, int rank) {
    snprintf(path, PATH_MAX + 64, "%s%llx.%s%d.%d", folder(), (unsigned long long)comm->id, what, number, rank);
}
static void leave(const struct ncclComm *comm, const char *what, int number, const struct asked *asked, const void *data,
                  size_t bytes) {
    char path[PATH_MAX + 64], whole[PATH_MAX + 72];
    name(path, comm, what, number, comm->rank);
    snprintf(whole, sizeof whole, "%s.part", path);
    FILE *file = fopen(whole, "w");
    if (!file) abort();
    if (asked) fwrite(asked, sizeof *asked, 1, file);
    if (bytes) fwrite(data, bytes, 1, file);
    if (fclose(file) != 0 || rename(whole, path) != 0) abort();
}
static int all_have(const struct ncclComm *comm, const char *what, int number) {
    char path[PATH_MAX + 64];
    for (int rank = 0; rank < comm->ranks; rank++) {
        name(path, comm, what, number, rank);
        if (access(path, R_OK) != 0) return 0;
    }
    return 1;
}

static void work(struct ncclComm *comm) {
    const char *polls = behind("FAKE_NCCL", "busy");
    comm->busy = polls ? atoi(polls) : 0;
}

status ncclCommInitRankConfig(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank, ncclConfig_t *config) {
    note("init", rank);
    FAIL_IF_TOLD;
    *comm = NULL;
    // Settings of the version that the bindings are made of, as its initialiser writes them.
    const ncclConfig_t expected = NCCL_CONFIG_INITIALIZER;
    if (config->blocking != 0) return ncclInvalidUsage;
    config->blocking = expected.blocking;
    if (config->size != sizeof *config || config->magic != expected.magic || config->version != expected.version ||
        config->cgaClusterSize != expected.cgaClusterSize || config->minCTAs != expected.minCTAs ||
        config->maxCTAs != expected.maxCTAs || config->netName != expected.netName ||
        config->splitShare != expected.splitShare)
        return ncclInvalidArgument;
    if (ranks < 1 || ranks > MAX_RANKS || rank < 0 || rank >= ranks) return ncclInvalidArgument;
    struct ncclComm *made = calloc(1, sizeof *made);
    memcpy(&made->id, id.internal, sizeof made->id);
    made->ranks = ranks;
    made->rank = rank;
    made->last = &made->first;
    work(made);
    if (!is("absent") || rank == 0 || rank < ranks - 1) leave(made, "joined", 0, NULL, NULL, 0);
    *comm = made;
    return ncclInProgress;
}

static void get_on(struct ncclComm *comm);

status ncclCommGetAsyncError(ncclComm_t comm, status *state) {
    FAIL_IF_TOLD;
    const char *broken = behind("FAKE_NCCL", "breaks");
    pthread_mutex_lock(&lock);
    get_on(comm);
    *state = comm->wrong;
    if (comm->busy > 0) {
        comm->busy--;
        *state = ncclInProgress;
    } else if (!all_have(comm, "joined", 0) || (comm->finalizing && !all_have(comm, "final", 0))) {
        *state = ncclInProgress;
    }
    if (broken && comm->rounds && comm->polls++ >= atoi(strchr(broken, '@') + 1)) *state = (status)atoi(broken);
    pthread_mutex_unlock(&lock);
    return ncclSuccess;
}
status ncclCommFinalize(ncclComm_t comm) {
    note("finalize", comm->rank);
    FAIL_IF_TOLD;
    pthread_mutex_lock(&lock);
    comm->finalizing = 1;
    leave(comm, "final", 0, NULL, NULL, 0);
    work(comm);
    pthread_mutex_unlock(&lock);
    return ncclInProgress;
}
status ncclCommDestroy(ncclComm_t comm) {
    note("destroy", comm->rank);
    FAIL_IF_TOLD;
    free(comm);
    return ncclSuccess;
}
status ncclCommAbort(ncclComm_t comm) {
    note("abort", comm->rank);
    FAIL_IF_TOLD;
    free(comm);
    return ncclSuccess;
}

static size_t bytes(ncclDataType_t type) {
    return type == ncclInt8 || type == ncclUint8                                                    ? 1
           : type == ncclFloat16 || type == ncclBfloat16                                            ? 2
           : type == ncclInt32 || type == ncclUint32 || type == ncclFloat32                         ? 4
                                                                                                    : 8;
}
#define COMBINE(T, a, b)                                                                       \
    for (size_t i = 0; i < count; i++) {                                                       \
        T *to = (T *)(a) + i, value = ((const T *)(b))[i];                                     \
        *to = op == ncclSum ? *to + value : op == ncclProd ? *to * value                       \
              : (op == ncclMax) == (*to < value) ? value : *to;                                \
    }
static void combine(void *a, const void *b, size_t count, ncclDataType_t type, ncclRedOp_t op) {
    switch (type) {
    case ncclFloat32: COMBINE(float, a, b) break;
    case ncclFloat64: COMBINE(double, a, b) break;
    case ncclInt32: COMBINE(int32_t, a, b) break;
    case ncclUint64: COMBINE(uint64_t, a, b) break;
    default: fprintf(stderr, "fake NCCL: it does not add this type\n"); abort();
    }
}
// Elements that a rank sends.
static size_t sent(const struct asked *asked, int ranks) {
    return asked->kind == REDUCE_SCATTER ? asked->count * ranks : asked->count;
}
// This rank's part of what all have asked for.
static void perform(struct ncclComm *comm, struct operation *one) {
    const int ranks = comm->ranks;
    const size_t size = bytes(one->asked.type), length = sent(&one->asked, ranks) * size;
    char *copies[MAX_RANKS], path[PATH_MAX + 64];
    for (int rank = 0; rank < ranks; rank++) {
        struct asked asked;
        copies[rank] = malloc(length + 1);
        name(path, comm, "", comm->done, rank);
        FILE *file = fopen(path, "r");
        if (!file || fread(&asked, sizeof asked, 1, file) != 1) abort();
        if (memcmp(&asked, &one->asked, sizeof asked) != 0)
            comm->wrong = ncclInvalidUsage;
        else if (length && fread(copies[rank], length, 1, file) != 1)
            abort();
        fclose(file);
    }
    if (one->asked.kind <= REDUCE_SCATTER || one->asked.kind == REDUCE)
        for (int rank = ranks - 2; rank >= 0 && comm->wrong == ncclSuccess; rank--)
            combine(copies[ranks - 1], copies[rank], length / size, one->asked.type, one->asked.op);
    if (is("wrong") && one->asked.type == ncclFloat32) *(float *)copies[ranks - 1] += 1.0f;
    const char *total = copies[ranks - 1];
    const size_t part = one->asked.count * size;
    if (comm->wrong == ncclSuccess) {
        const enum kind kind = one->asked.kind;
        if (kind == ALL_REDUCE || (kind == REDUCE && one->asked.root == comm->rank)) memcpy(one->to, total, length);
        if (kind == REDUCE_SCATTER) memcpy(one->to, total + comm->rank * part, part);
        if (kind == BROADCAST) memcpy(one->to, copies[one->asked.root], length);
        if (kind == ALL_GATHER)
            for (int from = 0; from < ranks; from++) memcpy((char *)one->to + from * part, copies[from], part);
        __atomic_fetch_sub(one->pending, 1, __ATOMIC_RELEASE);
    }
    for (int rank = 0; rank < ranks; rank++) free(copies[rank]);
}
// One after the other, each once all have asked for it.
static void get_on(struct ncclComm *comm) {
    while (comm->first && comm->wrong == ncclSuccess) {
        struct operation *one = comm->first;
        if (!one->is_told)
            leave(comm, "", comm->done, &one->asked, one->from, sent(&one->asked, comm->ranks) * bytes(one->asked.type));
        one->is_told = 1;
        if (!all_have(comm, "", comm->done)) return;
        perform(comm, one);
        comm->done++;
        comm->first = one->next;
        if (!comm->first) comm->last = &comm->first;
        free(one);
    }
}

// A group of calls is a thread's own.
static __thread int depth, asked;
static __thread struct operation *calls[MAX_CALLS];

status ncclGroupStart() {
    FAIL_IF_TOLD;
    depth++;
    return ncclSuccess;
}
status ncclGroupEnd() {
    if (--depth > 0) return ncclSuccess;
    const int count = asked;
    asked = 0;
    FAIL_IF_TOLD;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < count; i++) {
        struct ncclComm *comm = calls[i]->comm;
        comm->rounds++;
        *comm->last = calls[i];
        comm->last = &calls[i]->next;
        get_on(comm);
        work(comm);
    }
    pthread_mutex_unlock(&lock);
    return ncclInProgress;
}
static status ask(enum kind kind, const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                  int root, ncclComm_t comm, cudaStream_t stream) {
    if (depth == 0 || asked == MAX_CALLS || !stream) return ncclInvalidUsage;
    struct operation *one = calloc(1, sizeof *one);
    one->asked.kind = kind, one->asked.count = count, one->asked.type = type, one->asked.op = op, one->asked.root = root;
    one->from = from, one->to = to, one->comm = comm, one->pending = (int64_t *)stream;
    __atomic_fetch_add(one->pending, 1, __ATOMIC_RELAXED);
    calls[asked++] = one;
    return ncclSuccess;
}

status ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm,
                     cudaStream_t stream) {
    FAIL_IF_TOLD;
    return ask(ALL_REDUCE, from, to, count, type, op, 0, comm, stream);
}
status ncclReduceScatter(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                         ncclComm_t comm, cudaStream_t stream) {
    FAIL_IF_TOLD;
    return ask(REDUCE_SCATTER, from, to, count, type, op, 0, comm, stream);
}
status ncclAllGather(const void *from, void *to, size_t count, ncclDataType_t type, ncclComm_t comm,
                     cudaStream_t stream) {
    FAIL_IF_TOLD;
    return ask(ALL_GATHER, from, to, count, type, ncclSum, 0, comm, stream);
}
status ncclReduce(const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op, int root,
                  ncclComm_t comm, cudaStream_t stream) {
    FAIL_IF_TOLD;
    return ask(REDUCE, from, to, count, type, op, root, comm, stream);
}
#ifndef WITHOUT_BROADCAST
status ncclBroadcast(const void *from, void *to, size_t count, ncclDataType_t type, int root, ncclComm_t comm,
                     cudaStream_t stream) {
    FAIL_IF_TOLD;
    return ask(BROADCAST, from, to, count, type, ncclSum, root, comm, stream);
}
#endif
