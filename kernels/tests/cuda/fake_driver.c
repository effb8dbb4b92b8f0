// A libcuda.so.1 without a GPU. FAKE_CUDA chooses what is wrong with it; without it, it runs two kernels on memory of
// the host.
//
// Work is queued and done when the stream is waited for, so that a caller that does not wait reads old bytes. What is
// left when the context is released, or is used without a context, ends the process with 99.

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int status;
typedef unsigned long long u64;

static int is(const char *mode) {
    const char *chosen = getenv("FAKE_CUDA");
    return chosen && strcmp(chosen, mode) == 0;
}

static void refuse(const char *why) {
    fprintf(stderr, "fake driver: %s\n", why);
    _exit(99);
}

static int started, current, live;
static status sticky;

static void context(void) {
    if (!current) refuse("a call without a context");
}

status cuDriverGetVersion(int *version) {
    *version = is("old") ? 11040 : 12040;
    return is("stub") ? 34 : 0;
}
status cuInit(unsigned flags) {
    if (is("late-stub")) return 34;
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
    *name = code == 803 ? "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH" : code == 700 ? "CUDA_ERROR_ILLEGAL_ADDRESS" : NULL;
    return *name ? 0 : 1;
}
status cuGetErrorString(status code, const char **text) { return cuGetErrorName(code, text); }
status cuDeviceGetCount(int *count) {
    *count = is("zero-devices") ? 0 : 1;
    return started ? 0 : 3;
}
status cuDeviceGet(int *device, int index) {
    *device = 7;
    return index == 0 ? 0 : 101;
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
    *value = attribute == 75 ? 9 : attribute == 76 ? 0 : -1;
    return 0;
}
status cuDevicePrimaryCtxRetain(void **handle, int device) {
    *handle = &current;
    return 0;
}
status cuCtxSetCurrent(void *handle) {
    current = handle == &current;
    return 0;
}
status cuDevicePrimaryCtxRelease_v2(int device) {
    if (live) refuse("a context is released before what is in it");
    current = 0;
    return 0;
}
static status made(void **handle) {
    context();
    *handle = calloc(1, 16);
    live++;
    return 0;
}
static status gone(void *handle) {
    context();
    free(handle);
    live--;
    return 0;
}
status cuStreamCreate(void **stream, unsigned flags) { return flags == 1 ? made(stream) : 1; }
status cuStreamDestroy_v2(void *stream) { return gone(stream); }
status cuMemAlloc_v2(u64 *address, size_t bytes) {
    context();
    if (bytes > ((size_t)80 << 30)) return 2;
    void *memory = aligned_alloc(256, (bytes + 255) / 256 * 256);
    memset(memory, 0xA5, bytes);
    *address = (uintptr_t)memory;
    live++;
    return 0;
}
status cuMemFree_v2(u64 address) { return gone((void *)(uintptr_t)address); }

// The queue of the one stream.
struct work {
    const char *kernel;
    void *to;
    const void *from;
    size_t bytes;
    unsigned grid, block;
    u64 n;
    float f;
    unsigned u;
};
static struct work queue[64];
static int queued;

static struct work *next(void) {
    context();
    if (queued == 64) refuse("the queue is full");
    memset(&queue[queued], 0, sizeof(struct work));
    return &queue[queued++];
}
static status copied(void *to, const void *from, size_t bytes) {
    struct work *work = next();
    work->to = to, work->from = from, work->bytes = bytes;
    return sticky;
}
status cuMemcpyHtoDAsync_v2(u64 to, const void *from, size_t bytes, void *stream) {
    return copied((void *)(uintptr_t)to, from, bytes);
}
status cuMemcpyDtoHAsync_v2(void *to, u64 from, size_t bytes, void *stream) {
    return copied(to, (void *)(uintptr_t)from, bytes);
}
status cuMemcpyDtoDAsync_v2(u64 to, u64 from, size_t bytes, void *stream) {
    return copied((void *)(uintptr_t)to, (void *)(uintptr_t)from, bytes);
}

static void run(const struct work *work) {
    if (!work->kernel) {
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
status cuStreamSynchronize(void *stream) {
    context();
    for (int i = 0; i < queued && !sticky; i++) run(&queue[i]);
    queued = 0;
    return sticky;
}

status cuModuleLoadData(void **module, const void *image) {
    if (memcmp(image, "\177ELF", 4) != 0) return 200;
    return made(module);
}
status cuModuleUnload(void *module) { return gone(module); }
status cuModuleGetFunction(void **function, void *module, const char *name) {
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
    struct work *work = next();
    work->kernel = function, work->grid = x, work->block = threads;
    if (strcmp(function, "hc_scale") == 0) {
        work->n = *(u64 *)parameters[0];
        work->from = *(void **)parameters[1];
        work->to = *(void **)parameters[2];
        work->f = *(float *)parameters[3];
        work->u = *(unsigned *)parameters[4];
    }
    return sticky;
}

status cuEventCreate(void **event, unsigned flags) { return made(event); }
status cuEventDestroy_v2(void *event) { return gone(event); }
status cuEventRecord(void *event, void *stream) {
    *(int *)event = 1;
    return 0;
}
status cuEventSynchronize(void *event) { return cuStreamSynchronize(NULL); }
status cuEventElapsedTime(float *milliseconds, void *start, void *end) {
    *milliseconds = 2.5f;
    return *(int *)start && *(int *)end ? 0 : 400;
}
