// A libnccl.so.2 without a GPU. The ranks of a communicator are threads of one process; what they ask for is done on memory
// of the host when the last of them has asked for it, and adds from the last rank to the first. A stream is the address of
// a counter of what has not ended yet.
//
// FAKE_NCCL chooses what is wrong with it: old, no-version, hangs, crashes; absent: the last rank of several is never met;
// wrong: the first element of a sum, or of what the last rank gives, is one more; busy=N: each call is in progress for N polls;
// breaks=CODE@N: poll N of a communicator after its first operation, counted from 0, answers CODE for what was asked before. FAKE_NCCL_FAILS=CALL=CODE: that call
// answers CODE. FAKE_NCCL_BLOCKS=CALL: it never returns. FAKE_NCCL_LOG: a file that gets a line a call of init, finalize,
// destroy and abort.

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nccl.h"

typedef ncclResult_t status;

static int is(const char *mode) {
    const char *chosen = getenv("FAKE_NCCL");
    return chosen && strcmp(chosen, mode) == 0;
}
// What stands behind "name=" in a variable; null without it.
static const char *behind(const char *variable, const char *name) {
    const char *value = getenv(variable);
    const size_t length = strlen(name);
    return value && strncmp(value, name, length) == 0 && value[length] == '=' ? value + length + 1 : NULL;
}
static status failing(const char *call) {
    const char *blocked = getenv("FAKE_NCCL_BLOCKS");
    while (blocked && strcmp(blocked, call) == 0) pause();
    const char *code = behind("FAKE_NCCL_FAILS", call);
    return code ? (status)atoi(code) : ncclSuccess;
}
#define FAIL_IF_TOLD                                    \
    do {                                                \
        const status told = failing(__func__);          \
        if (told != ncclSuccess) return told;           \
    } while (0)

enum { MAX_RANKS = 8, MAX_ROUNDS = 64, MAX_GROUPS = 16 };
enum kind { ALL_REDUCE, REDUCE_SCATTER, ALL_GATHER, REDUCE, BROADCAST };
struct operation {
    enum kind kind;
    const void *from;
    void *to;
    size_t count;
    ncclDataType_t type;
    ncclRedOp_t op;
    int root;
    struct ncclComm *comm;
    int64_t *pending;
};
// What one id stands for.
struct group {
    int id, ranks, joined, finalized;
    status wrong;
    struct {
        int asked;
        struct operation of[MAX_RANKS];
    } rounds[MAX_ROUNDS];
};
struct ncclComm {
    struct group *group;
    int rank, rounds, busy, polls, finalizing;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct group groups[MAX_GROUPS];
static int ids;

static void note(const char *what, int rank) {
    const char *path = getenv("FAKE_NCCL_LOG");
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
    memset(id, 0xA5, sizeof *id);
    pthread_mutex_lock(&lock);
    const int number = ++ids;
    pthread_mutex_unlock(&lock);
    memcpy(id->internal, &number, sizeof number);
    return ncclSuccess;
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
    int number;
    memcpy(&number, id.internal, sizeof number);
    if (ranks < 1 || ranks > MAX_RANKS || rank < 0 || rank >= ranks || number < 1 || number >= MAX_GROUPS)
        return ncclInvalidArgument;
    pthread_mutex_lock(&lock);
    struct group *group = &groups[number];
    group->ranks = ranks;
    group->joined += !is("absent") || rank == 0 || rank < ranks - 1;
    *comm = calloc(1, sizeof **comm);
    (*comm)->group = group;
    (*comm)->rank = rank;
    work(*comm);
    pthread_mutex_unlock(&lock);
    return ncclInProgress;
}

status ncclCommGetAsyncError(ncclComm_t comm, status *state) {
    FAIL_IF_TOLD;
    const char *broken = behind("FAKE_NCCL", "breaks");
    pthread_mutex_lock(&lock);
    const struct group *group = comm->group;
    *state = group->wrong;
    if (comm->busy > 0) {
        comm->busy--;
        *state = ncclInProgress;
    } else if (group->joined < group->ranks || (comm->finalizing && group->finalized < group->ranks)) {
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
    comm->group->finalized++;
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
// Others may still hold the group: only the end of this rank goes.
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
static size_t sent(const struct operation *one, int ranks) {
    return one->kind == REDUCE_SCATTER ? one->count * ranks : one->count;
}
static int fit(const struct operation *a, const struct operation *b) {
    return a->kind == b->kind && a->count == b->count && a->type == b->type && a->op == b->op && a->root == b->root;
}
// Of all ranks, each of which has asked for its own part of it.
static void perform(struct group *group, struct operation *of) {
    const int ranks = group->ranks;
    const size_t size = bytes(of[0].type), length = sent(&of[0], ranks) * size;
    char *copies[MAX_RANKS];
    for (int rank = 0; rank < ranks; rank++) {
        if (!fit(&of[0], &of[rank])) {
            group->wrong = ncclInvalidUsage;
            return;
        }
        copies[rank] = malloc(length + 1);
        memcpy(copies[rank], of[rank].from, length);
    }
    if (of[0].kind <= REDUCE_SCATTER || of[0].kind == REDUCE)
        for (int rank = ranks - 2; rank >= 0; rank--)
            combine(copies[ranks - 1], copies[rank], length / size, of[0].type, of[0].op);
    if (is("wrong") && of[0].type == ncclFloat32) *(float *)copies[ranks - 1] += 1.0f;
    const char *total = copies[ranks - 1];
    for (int rank = 0; rank < ranks; rank++) {
        struct operation *one = &of[rank];
        const size_t part = one->count * size;
        if (one->kind == ALL_REDUCE || (one->kind == REDUCE && one->root == rank)) memcpy(one->to, total, length);
        if (one->kind == REDUCE_SCATTER) memcpy(one->to, total + rank * part, part);
        if (one->kind == BROADCAST) memcpy(one->to, copies[one->root], length);
        if (one->kind == ALL_GATHER)
            for (int from = 0; from < ranks; from++) memcpy((char *)one->to + from * part, copies[from], part);
        __atomic_fetch_sub(one->pending, 1, __ATOMIC_RELEASE);
    }
    for (int rank = 0; rank < ranks; rank++) free(copies[rank]);
}

// A group of calls is a thread's own.
static __thread int depth, asked;
static __thread struct operation calls[MAX_ROUNDS];

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
        struct ncclComm *comm = calls[i].comm;
        const int round = comm->rounds++;
        comm->group->rounds[round].of[comm->rank] = calls[i];
        if (++comm->group->rounds[round].asked == comm->group->ranks) perform(comm->group, comm->group->rounds[round].of);
        work(comm);
    }
    pthread_mutex_unlock(&lock);
    return ncclInProgress;
}
static status ask(enum kind kind, const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                  int root, ncclComm_t comm, cudaStream_t stream) {
    if (depth == 0 || asked == MAX_ROUNDS || !stream) return ncclInvalidUsage;
    const struct operation one = {kind, from, to, count, type, op, root, comm, (int64_t *)stream};
    __atomic_fetch_add(one.pending, 1, __ATOMIC_RELAXED);
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
