// A libcublasLt.so.12 without a GPU, from what cublasLt.h says, without that header. Products are computed on memory of the
// host, queued by the fake driver's cuLaunchHostFunc; they add from the last term to the first. It answers 7 to what it was
// not promised: another shape than that of the algorithm, addresses less aligned, no workspace.
//
// FAKE_CUBLASLT chooses what is wrong with it: old, crashes, hangs; refuses: no algorithm for any shape; knows-none: an empty
// list; refuses-odd: no algorithm where something lies at an odd pitch; refuses-late: an algorithm, and then not supported.
// FAKE_CUBLASLT_FAILS=CALL=CODE: that call answers CODE. FAKE_CUBLASLT_LOG: a file that gets a line a call.

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int status;
enum { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
enum { R_32F = 0, R_16BF = 14, COMPUTE_32F = 68 };
enum { EPILOGUE_DEFAULT = 1, EPILOGUE_BIAS = 4 };

static int is(const char *mode) {
    const char *chosen = getenv("FAKE_CUBLASLT");
    return chosen && strcmp(chosen, mode) == 0;
}
static status failing(const char *call) {
    const char *value = getenv("FAKE_CUBLASLT_FAILS");
    const size_t length = strlen(call);
    const int matches = value && strncmp(value, call, length) == 0 && value[length] == '=';
    return matches ? atoi(value + length + 1) : SUCCESS;
}
#define FAIL_IF_TOLD                          \
    do {                                      \
        const status told = failing(__func__); \
        if (told != SUCCESS) return told;     \
    } while (0)

static void note(const char *line) {
    const char *path = getenv("FAKE_CUBLASLT_LOG");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file) return;
    fprintf(file, "%s\n", line);
    fclose(file);
}
static status wrong(const char *what) {
    fprintf(stderr, "fake cuBLASLt: %s\n", what);
    return INVALID_VALUE;
}

struct descriptor {
    int compute, scale, transpose_a, transpose_b;
    unsigned epilogue;
    const uint16_t *bias;
};
struct layout {
    // As wide as the others, so that nothing undefined lies between them.
    int64_t type;
    uint64_t rows, columns;
    int64_t pitch;
};
struct preference {
    uint64_t workspace;
    unsigned schemes, alignment[4];
};
struct algorithm {
    uint64_t data[8];
};
struct result {
    struct algorithm algorithm;
    size_t workspace;
    status state;
    float waves;
    int reserved[4];
};
enum { WORKSPACE = 4096, MAGIC = 0x4c74 };

static int live;
static status made(void **object, size_t bytes) {
    *object = calloc(1, bytes);
    live++;
    return SUCCESS;
}
static status gone(void *object) {
    free(object);
    live--;
    return SUCCESS;
}

#ifndef WITHOUT_HEURISTIC
#define HEURISTIC cublasLtMatmulAlgoGetHeuristic
#else
#define HEURISTIC not_there
#endif

size_t cublasLtGetVersion(void) {
    if (is("crashes")) abort();
    while (is("hangs")) pause();
    return is("old") ? 111103 : 120205;
}
const char *cublasLtGetStatusName(status code) {
    return code == NOT_SUPPORTED ? "CUBLAS_STATUS_NOT_SUPPORTED"
           : code == 13          ? "CUBLAS_STATUS_EXECUTION_FAILED"
           : code == 1           ? "CUBLAS_STATUS_NOT_INITIALIZED"
           : code == 7           ? "CUBLAS_STATUS_INVALID_VALUE"
                                 : NULL;
}
const char *cublasLtGetStatusString(status code) {
    return code == 13 ? "the function failed to launch on the GPU" : "words of the library";
}
status cublasLtCreate(void **handle) {
    FAIL_IF_TOLD;
    note("create");
    return made(handle, 8);
}
status cublasLtDestroy(void *handle) {
    char line[64];
    gone(handle);
    snprintf(line, sizeof line, "destroy %d", live);
    note(line);
    return SUCCESS;
}
status cublasLtMatmulDescCreate(void **object, int compute, int scale) {
    FAIL_IF_TOLD;
    note("descriptor");
    made(object, sizeof(struct descriptor));
    struct descriptor *descriptor = *object;
    descriptor->compute = compute, descriptor->scale = scale, descriptor->epilogue = EPILOGUE_DEFAULT;
    return SUCCESS;
}
status cublasLtMatmulDescDestroy(void *object) { return gone(object); }
status cublasLtMatmulDescSetAttribute(void *object, int attribute, const void *value, size_t bytes) {
    FAIL_IF_TOLD;
    struct descriptor *descriptor = object;
    void *to = attribute == 3   ? (void *)&descriptor->transpose_a
               : attribute == 4 ? (void *)&descriptor->transpose_b
               : attribute == 7 ? (void *)&descriptor->epilogue
               : attribute == 8 ? (void *)&descriptor->bias
                                : NULL;
    if (!to || bytes != (attribute == 8 ? 8 : 4)) return wrong("an attribute of a descriptor");
    memcpy(to, value, bytes);
    return SUCCESS;
}
status cublasLtMatrixLayoutCreate(void **object, int type, uint64_t rows, uint64_t columns, int64_t pitch) {
    FAIL_IF_TOLD;
    if (rows == 0 || columns == 0 || pitch < (int64_t)rows) return wrong("a layout");
    made(object, sizeof(struct layout));
    *(struct layout *)*object = (struct layout){type, rows, columns, pitch};
    return SUCCESS;
}
status cublasLtMatrixLayoutDestroy(void *object) { return gone(object); }
status cublasLtMatmulPreferenceCreate(void **object) {
    FAIL_IF_TOLD;
    made(object, sizeof(struct preference));
    *(struct preference *)*object = (struct preference){0, 7, {256, 256, 256, 256}};
    return SUCCESS;
}
status cublasLtMatmulPreferenceDestroy(void *object) { return gone(object); }
status cublasLtMatmulPreferenceSetAttribute(void *object, int attribute, const void *value, size_t bytes) {
    FAIL_IF_TOLD;
    struct preference *preference = object;
    void *to = attribute == 1                     ? (void *)&preference->workspace
               : attribute == 3                   ? (void *)&preference->schemes
               : attribute >= 5 && attribute <= 8 ? (void *)&preference->alignment[attribute - 5]
                                                  : NULL;
    if (!to || bytes != (attribute == 1 ? 8 : 4)) return wrong("an attribute of a preference");
    memcpy(to, value, bytes);
    return SUCCESS;
}

struct product {
    struct descriptor descriptor;
    struct layout a, b, c;
};

static unsigned alignment(const void *address) {
    unsigned alignment = 1;
    while (alignment < 256 && ((uintptr_t)address & alignment) == 0) alignment *= 2;
    return alignment;
}
// Of all that an algorithm depends on.
static uint64_t digest(const struct product *product) {
    struct product plain = *product;
    plain.descriptor.bias = NULL;
    uint64_t digest = alignment(product->descriptor.epilogue == EPILOGUE_BIAS ? product->descriptor.bias : NULL);
    for (size_t i = 0; i < sizeof plain; i++) digest = digest * 0x100000001b3 + ((const unsigned char *)&plain)[i];
    return digest;
}
static struct product product_of(void *descriptor, void *a, void *b, void *c) {
    struct product product;
    memset(&product, 0, sizeof product);
    memcpy(&product.descriptor, descriptor, sizeof product.descriptor);
    memcpy(&product.a, a, sizeof product.a);
    memcpy(&product.b, b, sizeof product.b);
    memcpy(&product.c, c, sizeof product.c);
    return product;
}
static status check(const struct product *product) {
    const struct descriptor *descriptor = &product->descriptor;
    const struct layout *a = &product->a, *b = &product->b, *c = &product->c;
    const uint64_t rows = descriptor->transpose_a ? a->columns : a->rows;
    const uint64_t depth = descriptor->transpose_a ? a->rows : a->columns;
    const uint64_t columns = descriptor->transpose_b ? b->rows : b->columns;
    if (descriptor->compute != COMPUTE_32F || descriptor->scale != R_32F) return wrong("sums that are not f32");
    if (a->type != R_16BF || b->type != R_16BF) return wrong("factors that are not bf16");
    if (c->type != R_16BF && c->type != R_32F) return wrong("the type of the result");
    if (depth != (descriptor->transpose_b ? b->columns : b->rows)) return wrong("factors that do not fit");
    if (c->rows != rows || c->columns != columns) return wrong("a result that does not fit");
    if (descriptor->epilogue == EPILOGUE_BIAS && (!descriptor->bias || c->type != R_16BF)) return wrong("the bias");
    return SUCCESS;
}

status HEURISTIC(void *handle, void *descriptor, void *a, void *b, void *c, void *d, void *preference, int room,
                 struct result *results, int *count) {
    const status told = failing("cublasLtMatmulAlgoGetHeuristic");
    const struct preference *wanted = preference;
    const struct product product = product_of(descriptor, a, b, c);
    char line[128];
    snprintf(line, sizeof line, "heuristic schemes=%u workspace=%llu", wanted->schemes,
             (unsigned long long)wanted->workspace);
    note(line);
    if (told != SUCCESS) return told;
    if (c != d || room < 1 || check(&product) != SUCCESS) return INVALID_VALUE;
    const int odd = product.a.pitch % 2 || product.b.pitch % 2 || product.c.pitch % 2;
    *count = 0;
    if (is("refuses") || (is("refuses-odd") && odd)) return NOT_SUPPORTED;
    if (is("knows-none")) return SUCCESS;
    if (wanted->workspace < WORKSPACE) return NOT_SUPPORTED;
    memset(results, 0, sizeof *results);
    uint64_t *data = results->algorithm.data;
    data[0] = MAGIC, data[1] = digest(&product);
    for (int i = 0; i < 4; i++) data[2 + i] = wanted->alignment[i];
    results->workspace = WORKSPACE;
    *count = 1;
    return SUCCESS;
}

struct job {
    struct product product;
    const uint16_t *a, *b;
    const void *c;
    void *d, *workspace;
    float alpha, beta;
};

static float wide(uint16_t bits) {
    const uint32_t word = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &word, 4);
    return value;
}
static uint16_t nearest(float value) {
    uint32_t word;
    memcpy(&word, &value, 4);
    if (value != value) return 0x7fc0;
    return (word + 0x7fff + (word >> 16 & 1)) >> 16;
}
static void multiply(void *data) {
    const struct job *job = data;
    const struct descriptor *descriptor = &job->product.descriptor;
    const struct layout *a = &job->product.a, *b = &job->product.b, *c = &job->product.c;
    const uint64_t depth = descriptor->transpose_a ? a->rows : a->columns;
    memset(job->workspace, 0x5a, WORKSPACE);
    for (uint64_t column = 0; column < c->columns; column++) {
        for (uint64_t row = 0; row < c->rows; row++) {
            float sum = 0;
            for (uint64_t k = depth; k-- > 0;) {
                const uint64_t at_a = descriptor->transpose_a ? row * a->pitch + k : k * a->pitch + row;
                const uint64_t at_b = descriptor->transpose_b ? k * b->pitch + column : column * b->pitch + k;
                sum += wide(job->a[at_a]) * wide(job->b[at_b]);
            }
            const uint64_t at = column * c->pitch + row;
            float result = job->alpha * sum;
            if (job->beta != 0) {
                const float before = c->type == R_32F ? ((const float *)job->c)[at] : wide(((const uint16_t *)job->c)[at]);
                result += job->beta * before;
            }
            if (descriptor->epilogue == EPILOGUE_BIAS) result += wide(descriptor->bias[row]);
            if (c->type == R_32F) {
                ((float *)job->d)[at] = result;
            } else {
                ((uint16_t *)job->d)[at] = nearest(result);
            }
        }
    }
    free(data);
}

status cublasLtMatmul(void *handle, void *descriptor, const void *alpha, const void *a, void *a_layout, const void *b,
                      void *b_layout, const void *beta, const void *c, void *c_layout, void *d, void *d_layout,
                      const struct algorithm *algorithm, void *workspace, size_t workspace_bytes, void *stream) {
    FAIL_IF_TOLD;
    if (is("refuses-late")) return NOT_SUPPORTED;
    const struct product product = product_of(descriptor, a_layout, b_layout, c_layout);
    const uint64_t *data = algorithm->data;
    if (data[0] != MAGIC || data[1] != digest(&product)) return wrong("an algorithm of another shape");
    const void *addresses[] = {a, b, c, d};
    for (int i = 0; i < 4; i++) {
        if (alignment(addresses[i]) < data[2 + i]) return wrong("an address that is less aligned than was said");
    }
    if (!workspace || workspace_bytes < WORKSPACE || (uintptr_t)workspace % 256) return wrong("the workspace");
    if (c != d || c_layout != d_layout) return wrong("a result beside what is added");
    struct job *job = malloc(sizeof *job);
    *job = (struct job){product, a, b, c, d, workspace, *(const float *)alpha, *(const float *)beta};
    void *driver = dlopen("libcuda.so.1", RTLD_NOW);
    int (*queue)(void *, void (*)(void *), void *) = (int (*)(void *, void (*)(void *), void *))dlsym(driver, "cuLaunchHostFunc");
    note("product");
    return queue(stream, multiply, job) == 0 ? SUCCESS : 13;
}
