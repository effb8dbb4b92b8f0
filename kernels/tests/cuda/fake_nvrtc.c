// A libnvrtc.so.12 that compiles nothing. FAKE_NVRTC is its version, major and minor with a point; FAKE_NVRTC_KNOWS
// the architectures that it knows; without them it is 12.9 and knows all. What it makes is an ELF header, one empty section and the architecture's name.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int status;

struct program {
    char cubin[160];
    char log[128];
};

status nvrtcVersion(int *major, int *minor) {
    const char *version = getenv("FAKE_NVRTC");
    return sscanf(version ? version : "12.9", "%d.%d", major, minor) == 2 ? 0 : 7;
}
status nvrtcCreateProgram(struct program **program, const char *source, const char *name, int headers,
                          const char *const *texts, const char *const *names) {
    *program = calloc(1, sizeof(struct program));
    return 0;
}
status nvrtcCompileProgram(struct program *program, int count, const char *const *options) {
    const char *wanted = "";
    for (int i = 0; i < count; i++) {
        if (sscanf(options[i], "--gpu-architecture=%127s", program->log) == 1) wanted = strchr(options[i], '=') + 1;
    }
    char known[256];
    const char *knows = getenv("FAKE_NVRTC_KNOWS");
    snprintf(known, sizeof known, " %s ", knows ? knows : wanted);
    char one[64];
    snprintf(one, sizeof one, " %s ", wanted);
    if (!*wanted || !strstr(known, one)) {
        strcpy(program->log, "nvrtc: error: invalid value for --gpu-architecture (-arch)\n");
        return 5;
    }
    memcpy(program->cubin, "\177ELF\2\1", 6);
    program->cubin[40] = program->cubin[58] = 64;
    program->cubin[60] = 1;
    strncpy(program->cubin + 128, wanted, 31);
    return 0;
}
status nvrtcDestroyProgram(struct program **program) {
    free(*program);
    *program = NULL;
    return 0;
}
status nvrtcGetProgramLogSize(struct program *program, size_t *size) {
    *size = strlen(program->log) + 1;
    return 0;
}
status nvrtcGetProgramLog(struct program *program, char *log) {
    strcpy(log, program->log);
    return 0;
}
status nvrtcGetCUBINSize(struct program *program, size_t *size) {
    *size = sizeof program->cubin;
    return 0;
}
status nvrtcGetCUBIN(struct program *program, char *cubin) {
    memcpy(cubin, program->cubin, sizeof program->cubin);
    return 0;
}
