// A libcuda.so.1 without a GPU. FAKE_CUDA chooses what is wrong with it; without it, it runs two kernels on memory of
// the host; compiled WITH_EMULATOR, all kernels, by the emulator (kernels/emulator). FAKE_CUDA_CARD is the card's architecture, 90 without it; FAKE_CUDA_REFUSES what it answers to code;
// CUDA_VISIBLE_DEVICES says how many cards there are, one without it.
//
// Work is queued and done when its stream is waited for, so that a caller that does not wait reads old bytes; a stream
// that does not wait for another one runs as late as it can. What is left when the context is released, or is used without a context, ends the process with 99.

#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int status;
typedef unsigned long long u64;

// One call at a time: any thread may make them.
static pthread_mutex_t calls = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static int begun(void) { return pthread_mutex_lock(&calls); }
static void ended(const int *call) {
    (void)call;
    pthread_mutex_unlock(&calls);
}
#define ALONE __attribute__((cleanup(ended))) const int alone = begun()

// FAKE_CUDA, or what stands in the file `fake-cuda` of the cache: processes that others start have few variables.
static const char *chosen_mode(void) {
    ALONE;
    static char text[64];
    const char *chosen = getenv("FAKE_CUDA"), *cache = getenv("HCRUN_CACHE");
    if (chosen || text[0] || !cache) return chosen ? chosen : text;
    char path[512];
    snprintf(path, sizeof path, "%s/fake-cuda", cache);
    FILE *file = fopen(path, "r");
    if (!file || !fgets(text, sizeof text, file)) strcpy(text, "none");
    if (file) fclose(file);
    return text;
}
static int is(const char *mode) { return strcmp(chosen_mode(), mode) == 0; }

// Whether the mode is `what`, a colon and a number, and that many calls have been.
static int used_up(const char *what, long *calls) {
    const char *colon = strchr(chosen_mode(), ':');
    if (!colon || strncmp(chosen_mode(), what, colon - chosen_mode()) != 0) return 0;
    return ++*calls > atol(colon + 1);
}

static void refuse(const char *why) {
    fprintf(stderr, "fake driver: %s\n", why);
    _exit(99);
}

#ifdef WITH_EMULATOR
// As in hc_emu.h and hc_emu.cpp.
struct entry {
    const char *name;
    void (*thunk)(const u64 *arguments);
    unsigned arguments;
};
struct launch {
    const struct entry *entry;
    const u64 *arguments;
    const u64 (*regions)[2];
    u64 region_count, seed;
    unsigned grid, first_block, block, shared_bytes, argument_count;
};
struct fault {
    unsigned block, thread;
    char message[512];
};
const struct entry *hc_emu_find(const char *mutant, const char *kernel);
int hc_emu_launch(const struct launch *launch, struct fault *fault);

enum { MAX_ARGUMENTS = 32, MAX_REGIONS = 4096 };
// Start and end of each allocation.
static u64 regions[MAX_REGIONS][2];
static unsigned region_count;
#endif

status cuStreamSynchronize(void *stream);

static int started, live, retained;
// Each thread's own.
static _Thread_local int current;
static status sticky;

static int cards(void) {
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    int count = 1;
    for (; visible && *visible; visible++) count += *visible == ',';
    return count;
}

static void context(void) {
    if (!current) refuse("a call without a context");
}

status cuDriverGetVersion(int *version) {
    *version = is("old") ? 11040 : 12040;
    return is("stub") ? 34 : 0;
}
status cuInit(unsigned flags) {
    if (is("late-stub")) return 34;
    // For ever: whoever waits ends this process.
    while (is("hangs")) pause();
    if (is("crashes")) abort();
    if (is("no-device")) return 100;
    if (is("mismatch")) return 803;
    started = 1;
    return 0;
}
// What NVRTC asks a driver for.
status cuGetExportTable(const void **table, const void *id) {
    *table = NULL;
    return 34;
}
status cuGetErrorName(status code, const char **name) {
    *name = code == 200   ? "CUDA_ERROR_INVALID_IMAGE"
            : code == 214 ? "CUDA_ERROR_ECC_UNCORRECTABLE"
            : code == 999 ? "CUDA_ERROR_UNKNOWN"
            : code == 209 ? "CUDA_ERROR_NO_BINARY_FOR_GPU"
            : code == 222 ? "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"
            : code == 700 ? "CUDA_ERROR_ILLEGAL_ADDRESS"
            : code == 719 ? "CUDA_ERROR_LAUNCH_FAILED"
            : code == 803 ? "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"
                          : NULL;
    return *name ? 0 : 1;
}
status cuGetErrorString(status code, const char **text) { return cuGetErrorName(code, text); }
status cuDeviceGetCount(int *count) {
    *count = is("zero-devices") ? 0 : cards();
    return started ? 0 : 3;
}
status cuDeviceGet(int *device, int index) {
    *device = 7;
    return index >= 0 && index < cards() ? 0 : 101;
}
status cuDeviceGetName(char *name, int length, int device) {
    strncpy(name, "Fake H100", length);
    return device == 7 ? 0 : 101;
}
status cuDeviceTotalMem_v2(size_t *bytes, int device) {
    *bytes = (size_t)80 << 30;
    return 0;
}
status cuDeviceGetAttribute(int *value, int attribute, int device) {
    const char *card = getenv("FAKE_CUDA_CARD");
    const int architecture = card ? atoi(card) : 90;
    *value = attribute == 75 ? architecture / 10 : attribute == 76 ? architecture % 10 : -1;
    return 0;
}
// One context stands for those of all cards.
status cuDevicePrimaryCtxRetain(void **handle, int device) {
    ALONE;
    retained++;
    *handle = &retained;
    return 0;
}
status cuCtxSetCurrent(void *handle) {
    current = handle == &retained;
    return 0;
}
status cuDevicePrimaryCtxRelease_v2(int device) {
    ALONE;
    if (--retained == 0 && live) refuse("a context is released before what is in it");
    return 0;
}
static status made(void **handle) {
    context();
    ALONE;
    *handle = calloc(1, 16);
    live++;
    return 0;
}
static status gone(void *handle) {
    context();
    ALONE;
    free(handle);
    live--;
    return 0;
}
status cuStreamCreate(void **stream, unsigned flags) { return flags == 1 ? made(stream) : 1; }
status cuStreamDestroy_v2(void *stream) { return gone(stream); }
status cuMemAlloc_v2(u64 *address, size_t bytes) {
    context();
    ALONE;
    static long allocations;
    if (bytes > ((size_t)80 << 30) || used_up("out-of-memory-after", &allocations)) return 2;
    void *memory = aligned_alloc(256, (bytes + 255) / 256 * 256);
    memset(memory, 0xA5, bytes);
    *address = (uintptr_t)memory;
    live++;
#ifdef WITH_EMULATOR
    if (region_count == MAX_REGIONS) refuse("too many allocations");
    regions[region_count][0] = *address, regions[region_count++][1] = *address + bytes;
#endif
    return 0;
}
status cuMemHostAlloc(void **memory, size_t bytes, unsigned flags) {
    context();
    ALONE;
    *memory = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    memset(*memory, 0xA5, bytes);
    live++;
    return flags ? 1 : 0;
}
status cuMemFreeHost(void *memory) {
    ALONE;
    cuStreamSynchronize(NULL);
    return gone(memory);
}
// Whether there is a file `busy` in the cache: something runs on the card that does not end.
static int is_busy(void) {
    const char *cache = getenv("HCRUN_CACHE");
    char path[512];
    snprintf(path, sizeof path, "%s/busy", cache ? cache : "");
    return access(path, R_OK) == 0;
}
status cuMemFree_v2(u64 address) {
    while (is_busy()) usleep(10000);
    ALONE;
    // The driver waits for what may use it.
    cuStreamSynchronize(NULL);
#ifdef WITH_EMULATOR
    unsigned at = 0;
    while (at < region_count && regions[at][0] != address) at++;
    if (at == region_count) refuse("what is freed was not allocated");
    memcpy(regions[at], regions[--region_count], sizeof regions[at]);
#endif
    return gone((void *)(uintptr_t)address);
}

// The queue of all streams, in the order of the calls.
enum kind { KERNEL, COPY, RECORD, WAIT, HOST };
struct work {
    enum kind kind;
    void *stream, *event;
    int done;
    const char *kernel;
    void *to;
    const void *from;
    size_t bytes;
    void (*function)(void *data);
    void *data;
    unsigned grid, block;
    u64 n;
    float f;
    unsigned u;
#ifdef WITH_EMULATOR
    const struct entry *entry;
    unsigned shared;
    u64 arguments[MAX_ARGUMENTS];
#endif
};
static struct work *queue;
static int queued, room;

static int launched;

// Exit handlers wait for the card.
__attribute__((destructor)) static void at_exit(void) {
    while (is("never-ends") && launched) pause();
}

static struct work *next(enum kind kind, void *stream) {
    context();
    if (!stream) refuse("work without a stream");
    if (queued == room) {
        room = room ? 2 * room : 512;
        queue = realloc(queue, room * sizeof(struct work));
    }
    memset(&queue[queued], 0, sizeof(struct work));
    queue[queued].kind = kind;
    queue[queued].stream = stream;
    return &queue[queued++];
}
static status copied(void *to, const void *from, size_t bytes, void *stream) {
    ALONE;
    struct work *work = next(COPY, stream);
    work->to = to, work->from = from, work->bytes = bytes;
    return sticky;
}
status cuMemcpyHtoDAsync_v2(u64 to, const void *from, size_t bytes, void *stream) {
    return copied((void *)(uintptr_t)to, from, bytes, stream);
}
status cuMemcpyDtoHAsync_v2(void *to, u64 from, size_t bytes, void *stream) {
    return copied(to, (void *)(uintptr_t)from, bytes, stream);
}
status cuMemcpyDtoDAsync_v2(u64 to, u64 from, size_t bytes, void *stream) {
    return copied((void *)(uintptr_t)to, (void *)(uintptr_t)from, bytes, stream);
}

#ifdef WITH_EMULATOR
static void emulate(const struct work *work) {
    static u64 seed;
    struct fault fault;
    const struct launch launch = {
        .entry = work->entry,
        .arguments = work->arguments,
        .regions = (const u64(*)[2])regions,
        .region_count = region_count,
        .seed = ++seed,
        .grid = work->grid,
        .block = work->block,
        .shared_bytes = work->shared,
        .argument_count = work->entry->arguments,
    };
    if (hc_emu_launch(&launch, &fault) == 0) return;
    fprintf(stderr, "fake driver: %s: block %u, thread %u %s\n", work->entry->name, fault.block, fault.thread,
            fault.message);
    sticky = 719;
}
#endif

static void run(const struct work *work) {
    if (work->kind == RECORD || work->kind == WAIT) return;
    if (work->kind == HOST) {
        work->function(work->data);
        return;
    }
#ifdef WITH_EMULATOR
    if (work->entry) {
        emulate(work);
        return;
    }
#endif
    if (work->kind == COPY) {
        memmove(work->to, work->from, work->bytes);
    } else if (strcmp(work->kernel, "hc_crash") == 0) {
        sticky = 700;
    } else {
        // out[i] = in[i] × f + u, a thread an element.
        for (u64 i = 0; i < (u64)work->grid * work->block && i < work->n; i++) {
            ((float *)work->to)[i] = ((const float *)work->from)[i] * work->f + (float)work->u;
        }
    }
}
// Where an event was recorded last before `end`, or -1.
static int recorded(const void *event, int end) {
    int at = end - 1;
    while (at >= 0 && (queue[at].kind != RECORD || queue[at].event != event)) at--;
    return at;
}
// What a stream has before `end`, and what it waits for in others; of all streams, if it is null.
static void run_until(const void *stream, int end) {
    for (int i = 0; i < end && !sticky; i++) {
        if (queue[i].done || (stream && queue[i].stream != stream)) continue;
        queue[i].done = 1;
        const int awaited = queue[i].kind == WAIT ? recorded(queue[i].event, i) : -1;
        if (awaited >= 0) run_until(queue[awaited].stream, awaited + 1);
        run(&queue[i]);
    }
    int rest = 0;
    for (int i = 0; i < queued; i++) rest += !queue[i].done;
    if (rest == 0) queued = 0;
}
status cuStreamSynchronize(void *stream) {
    context();
    // A kernel that never ends.
    while (is("never-ends") && launched) pause();
    ALONE;
    run_until(stream, queued);
    if (sticky) queued = 0;
    return sticky;
}

// What is queued runs after the first question. A stream begins with a counter of what others have queued and has not
// ended, as the fake NCCL does.
status cuStreamQuery(void *stream) {
    context();
    if (is("late-failure")) return 719;
    ALONE;
    if (__atomic_load_n((int64_t *)stream, __ATOMIC_ACQUIRE) != 0) return 600;
    for (int i = 0; i < queued; i++) {
        if (queue[i].done || queue[i].stream != stream) continue;
        run_until(stream, queued);
        return 600;
    }
    return sticky;
}

status cuModuleLoadData(void **module, const void *image) {
    const char *refusal = getenv("FAKE_CUDA_REFUSES");
    if (refusal) return atoi(refusal);
    if (memcmp(image, "\177ELF", 4) != 0) return 200;
    return made(module);
}
status cuModuleUnload(void *module) { return gone(module); }
status cuModuleGetFunction(void **function, void *module, const char *name) {
#ifdef WITH_EMULATOR
    const char *mutant = getenv("FAKE_CUDA_MUTANT");
    if (!mutant && strncmp(chosen_mode(), "mutant:", 7) == 0) mutant = chosen_mode() + 7;
    *function = (void *)hc_emu_find(mutant ? mutant : "", name + strlen("hc_"));
    return *function ? 0 : 500;
#endif
    static char *names[] = {"hc_scale", "hc_crash"};
    for (int i = 0; i < 2; i++) {
        if (strcmp(name, names[i]) == 0) return *function = names[i], 0;
    }
    return 500;
}
#ifndef WITHOUT_FUNCTION_ATTRIBUTES
status cuFuncSetAttribute(void *function, int attribute, int value) { return attribute == 8 ? 0 : 1; }
#endif
status cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned ty, unsigned tz,
                      unsigned shared, void *stream, void **parameters, void **extra) {
    if (x == 0 || y != 1 || z != 1 || ty != 1 || tz != 1 || extra) return 1;
    ALONE;
    static long launches;
    // Memory that went bad, and a card that is gone: nothing works any more.
    if (used_up("ecc-after", &launches)) sticky = 214;
    if (used_up("gone-after", &launches)) sticky = 999;
    struct work *work = next(KERNEL, stream);
    work->grid = x, work->block = threads;
    launched = 1;
#ifdef WITH_EMULATOR
    work->entry = function, work->shared = shared;
    if (work->entry->arguments > MAX_ARGUMENTS) refuse("too many arguments");
    // A driver copies as many bytes as a parameter has; 8 hold any, and a kernel reads the first ones.
    for (unsigned i = 0; i < work->entry->arguments; i++) work->arguments[i] = *(u64 *)parameters[i];
    return sticky;
#endif
    work->kernel = function;
    if (strcmp(function, "hc_scale") == 0) {
        work->n = *(u64 *)parameters[0];
        work->from = *(void **)parameters[1];
        work->to = *(void **)parameters[2];
        work->f = *(float *)parameters[3];
        work->u = *(unsigned *)parameters[4];
    }
    return sticky;
}

// What the fake cuBLASLt queues its products by.
status cuLaunchHostFunc(void *stream, void (*function)(void *), void *data) {
    struct work *work = next(HOST, stream);
    work->function = function, work->data = data;
    return sticky;
}

status cuEventCreate(void **event, unsigned flags) { return made(event); }
status cuEventDestroy_v2(void *event) { return gone(event); }
status cuEventRecord(void *event, void *stream) {
    ALONE;
    next(RECORD, stream)->event = event;
    *(int *)event = 1;
    return sticky;
}
status cuEventSynchronize(void *event) {
    context();
    while (is("never-ends") && launched) pause();
    ALONE;
    const int at = recorded(event, queued);
    if (at >= 0) run_until(queue[at].stream, at + 1);
    return sticky;
}
status cuStreamWaitEvent(void *stream, void *event, unsigned flags) {
    ALONE;
    next(WAIT, stream)->event = event;
    return flags ? 1 : sticky;
}
status cuEventElapsedTime(float *milliseconds, void *start, void *end) {
    *milliseconds = 2.5f;
    return *(int *)start && *(int *)end ? 0 : 400;
}
