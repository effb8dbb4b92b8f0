// The emulator itself: fibres, rendezvous, shared memory, and the interface to Rust at the end.
#include "hc_emu.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <deque>
#include <string>
#include <vector>

#if defined(__x86_64__)
// Saves what the calling convention keeps, and goes on where `to` was saved. ucontext would ask the kernel for the
// signal mask at each switch, of which a block has hundreds.
asm(R"(
.text
.type hc_emu_switch, @function
hc_emu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size hc_emu_switch, . - hc_emu_switch
)");
extern "C" void hc_emu_switch(void** from, void* to);
#endif

namespace hc_emu {
namespace {

const unsigned WARP = 32;
const unsigned MAX_LANES = 1024;
const uint64_t STACK_BYTES = 64 * 1024;
// At the low end of each stack, without access.
const uint64_t GUARD_BYTES = 4096;

#if defined(__x86_64__)
struct Context {
    void* stack_top;
};

void switch_context(Context* from, Context* to) {
    hc_emu_switch(&from->stack_top, to->stack_top);
}

void make_context(Context* context, uint8_t* stack, void (*start)()) {
    // As if `start` had been called: it begins 8 bytes off a multiple of 16.
    void** top = reinterpret_cast<void**>(stack + STACK_BYTES - 8);
    *--top = reinterpret_cast<void*>(start);
    for (int i = 0; i < 6; i++) *--top = nullptr;
    context->stack_top = top;
}
#else
using Context = ucontext_t;

void switch_context(Context* from, Context* to) {
    swapcontext(from, to);
}

void make_context(Context* context, uint8_t* stack, void (*start)()) {
    getcontext(context);
    context->uc_stack.ss_sp = stack;
    context->uc_stack.ss_size = STACK_BYTES;
    context->uc_link = nullptr;
    makecontext(context, start, 0);
}
#endif
// Shared memory is NaN as a float and -1 as an integer until it is written; arrays have margins of another pattern.
const uint8_t POISON = 0xff;
const uint8_t RED = 0xa5;
const uint64_t RED_BYTES = 64;
// What a block may have on every architecture from sm_80 on without asking for more.
const uint64_t MAX_SHARED_BYTES = 48 * 1024;
const uint64_t MAX_DYNAMIC_BYTES = 99 * 1024;

enum class State { Ready, Waiting, Exited };

struct Copy {
    void* to;
    const void* from;
    uint64_t bytes;
};

struct Lane {
    Context context;
    State state;
    // What it waits for.
    Operation operation;
    const char* file;
    int line;
    unsigned mask;
    int argument;
    int width;
    uint64_t value;
    // Fragments in and out.
    uint32_t words[8];
    float floats[4];
    // cp.async: copies since the last commit, and committed groups.
    std::vector<Copy> copies;
    std::deque<std::vector<Copy>> groups;
};

struct SharedArray {
    std::string key;
    uint64_t offset;
    uint64_t bytes;
};

struct Region {
    uint64_t start, end;
};

struct Machine {
    Context scheduler;
    std::vector<Lane> lanes;
    uint8_t* stacks = nullptr;
    unsigned count = 0, running = 0, block = 0, grid = 0;
    Thunk thunk = nullptr;
    const uint64_t* arguments = nullptr;
    const Region* regions = nullptr;
    uint64_t region_count = 0;
    std::vector<uint64_t> arena;
    std::vector<SharedArray> arrays;
    uint64_t arena_used = 0, dynamic_bytes = 0;
    uint64_t draws = 0;
    bool in_lane = false;
    bool failed = false;
    unsigned failed_lane = 0;
    char message[512];

    ~Machine() {
        if (stacks != nullptr) munmap(stacks, MAX_LANES * STACK_BYTES);
    }
};

thread_local Machine machine;

uint64_t draw() {
    machine.draws += 0x9e3779b97f4a7c15ull;
    uint64_t x = machine.draws;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

Lane& current() {
    return machine.lanes[machine.running];
}

const char* name(Operation operation) {
    switch (operation) {
        case Operation::SyncThreads: return "__syncthreads";
        case Operation::SyncWarp: return "__syncwarp";
        case Operation::Shuffle: return "__shfl_sync";
        case Operation::ShuffleXor: return "__shfl_xor_sync";
        case Operation::ShuffleDown: return "__shfl_down_sync";
        case Operation::ShuffleUp: return "__shfl_up_sync";
        case Operation::Ballot: return "__ballot_sync";
        case Operation::LoadMatrix: return "ldmatrix";
        case Operation::Multiply: return "mma.sync";
    }
    return "?";
}

const char* base(const char* file) {
    const char* slash = strrchr(file, '/');
    return slash ? slash + 1 : file;
}

std::string where(const Lane& lane) {
    if (lane.state == State::Exited) return "has exited";
    char text[256];
    snprintf(text, sizeof text, "waits at %s, %s:%d", name(lane.operation), base(lane.file), lane.line);
    return text;
}

// The first fault counts. Returns to the scheduler for good when a lane calls it.
void fail(unsigned lane, const std::string& text) {
    if (machine.failed) return;
    machine.failed = true;
    machine.failed_lane = lane;
    snprintf(machine.message, sizeof machine.message, "%s", text.c_str());
}

void to_scheduler() {
    machine.in_lane = false;
    switch_context(&current().context, &machine.scheduler);
}

[[noreturn]] void die(const std::string& text) {
    fail(machine.running, text);
    for (;;) to_scheduler();
}

bool same_place(const Lane& a, const Lane& b) {
    return a.operation == b.operation && a.line == b.line && a.mask == b.mask && strcmp(a.file, b.file) == 0;
}

// What lane `lane` of a full group gets.
uint64_t shuffled(const Lane* warp, unsigned lane, bool* absent) {
    const Lane& own = warp[lane];
    const unsigned width = static_cast<unsigned>(own.width);
    const unsigned first = lane / width * width;
    int source = static_cast<int>(lane);
    switch (own.operation) {
        case Operation::Shuffle: source = static_cast<int>(first + static_cast<unsigned>(own.argument) % width); break;
        case Operation::ShuffleXor:
            source = static_cast<int>(lane) ^ own.argument;
            if (source >= static_cast<int>(first + width)) source = static_cast<int>(lane);
            break;
        case Operation::ShuffleDown:
            source = static_cast<int>(lane) + own.argument;
            if (source >= static_cast<int>(first + width)) source = static_cast<int>(lane);
            break;
        case Operation::ShuffleUp:
            source = static_cast<int>(lane) - own.argument;
            if (source < static_cast<int>(first)) source = static_cast<int>(lane);
            break;
        default: break;
    }
    if (!((own.mask >> source) & 1)) {
        *absent = true;
        return 0;
    }
    return warp[source].value;
}

float bf16(uint32_t word, unsigned half) {
    return float_of((half ? word >> 16 : word & 0xffff) << 16);
}

// mma.sync.m16n8k16.row.col: fragments as the PTX manual lays them over 32 lanes.
void multiply(Lane* warp) {
    float a[16][16], b[16][8];
    for (unsigned lane = 0; lane < WARP; lane++) {
        const unsigned group = lane / 4, place = lane % 4;
        for (unsigned i = 0; i < 8; i++) {
            const unsigned row = group + (i == 2 || i == 3 || i == 6 || i == 7 ? 8 : 0);
            const unsigned column = place * 2 + (i & 1) + (i >= 4 ? 8 : 0);
            a[row][column] = bf16(warp[lane].words[i / 2], i & 1);
        }
        for (unsigned i = 0; i < 4; i++) {
            const unsigned row = place * 2 + (i & 1) + (i >= 2 ? 8 : 0);
            b[row][group] = bf16(warp[lane].words[4 + i / 2], i & 1);
        }
    }
    for (unsigned lane = 0; lane < WARP; lane++) {
        for (unsigned i = 0; i < 4; i++) {
            const unsigned row = lane / 4 + (i >= 2 ? 8 : 0), column = lane % 4 * 2 + (i & 1);
            float sum = warp[lane].floats[i];
            for (unsigned k = 0; k < 16; k++) sum += a[row][k] * b[k][column];
            warp[lane].floats[i] = sum;
        }
    }
}

// ldmatrix.x4: lane 8 m + r names row r of matrix m.
void load_matrices(Lane* warp) {
    uint32_t out[WARP][4];
    for (unsigned lane = 0; lane < WARP; lane++) {
        for (unsigned m = 0; m < 4; m++) {
            uint32_t word = 0;
            for (unsigned half = 0; half < 2; half++) {
                const unsigned row = warp[lane].argument ? lane % 4 * 2 + half : lane / 4;
                const unsigned column = warp[lane].argument ? lane / 4 : lane % 4 * 2 + half;
                const uint16_t* elements = reinterpret_cast<const uint16_t*>(warp[m * 8 + row].value);
                word |= static_cast<uint32_t>(elements[column]) << (16 * half);
            }
            out[lane][m] = word;
        }
    }
    for (unsigned lane = 0; lane < WARP; lane++) memcpy(warp[lane].words, out[lane], sizeof out[lane]);
}

// All lanes of `mask` have come to the same place: gives each its result and lets it run.
void complete(Lane* warp, unsigned mask, unsigned first_lane) {
    uint64_t results[WARP] = {0};
    uint64_t votes = 0;
    for (unsigned lane = 0; lane < WARP; lane++) {
        if ((mask >> lane) & 1) votes |= (warp[lane].value & 1) << lane;
    }
    const Operation operation = warp[__builtin_ctz(mask)].operation;
    for (unsigned lane = 0; lane < WARP; lane++) {
        if (!((mask >> lane) & 1)) continue;
        bool absent = false;
        results[lane] = operation == Operation::Ballot ? votes : shuffled(warp, lane, &absent);
        if (absent) {
            fail(first_lane + lane, std::string(name(operation)) + " reads a lane that its mask does not name, " +
                                        base(warp[lane].file) + ":" + std::to_string(warp[lane].line));
            return;
        }
    }
    if (operation == Operation::Multiply) multiply(warp);
    if (operation == Operation::LoadMatrix) load_matrices(warp);
    for (unsigned lane = 0; lane < WARP; lane++) {
        if (!((mask >> lane) & 1)) continue;
        warp[lane].value = results[lane];
        warp[lane].state = State::Ready;
    }
}

void arrive_at_warp(Operation operation, const char* file, int line, unsigned mask) {
    Lane& own = current();
    own.operation = operation, own.file = file, own.line = line, own.mask = mask;
    own.state = State::Waiting;
    const unsigned lane = machine.running % WARP, first = machine.running - lane;
    if (!((mask >> lane) & 1)) {
        die(std::string("is not named by its own mask at ") + name(operation) + ", " + base(file) + ":" +
            std::to_string(line));
    }
    bool full = true;
    for (unsigned other = 0; other < WARP; other++) {
        if (!((mask >> other) & 1)) continue;
        if (first + other >= machine.count || machine.lanes[first + other].state == State::Exited) {
            die(std::string(name(operation)) + ", " + base(file) + ":" + std::to_string(line) + ", waits for thread " +
                std::to_string(first + other) + ", which is not there or has exited");
        }
        const Lane& peer = machine.lanes[first + other];
        full = full && peer.state == State::Waiting && same_place(peer, own);
    }
    if (full) complete(&machine.lanes[first], mask, first);
    to_scheduler();
}

void lane_main() {
    machine.thunk(machine.arguments);
    Lane& lane = current();
    if (!lane.copies.empty() || !lane.groups.empty()) die("exits with cp.async copies that it never waited for");
    lane.state = State::Exited;
    for (;;) to_scheduler();
}

#if defined(__x86_64__)
struct sigaction previous_segv, previous_bus;

void lane_fault() {
    die("accesses memory that is not there, or overflows its stack");
}

// A lane that touches what is not mapped fails like any other; every other fault is whose it was before.
void on_fault(int signal, siginfo_t* info, void* context) {
    if (machine.in_lane) {
        // The stack may be what overflowed: what the lane had on it is not needed any more.
        uint8_t* stack = machine.stacks + machine.running * STACK_BYTES;
        greg_t* registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
        registers[REG_RSP] = reinterpret_cast<greg_t>(stack + STACK_BYTES - 24);
        registers[REG_RIP] = reinterpret_cast<greg_t>(&lane_fault);
        return;
    }
    const struct sigaction& previous = signal == SIGSEGV ? previous_segv : previous_bus;
    if (previous.sa_flags & SA_SIGINFO) return previous.sa_sigaction(signal, info, context);
    sigaction(signal, &previous, nullptr);
}

bool catch_faults() {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    return sigaction(SIGSEGV, &action, &previous_segv) == 0 && sigaction(SIGBUS, &action, &previous_bus) == 0;
}

// The handler cannot run on a stack that has overflowed.
bool have_signal_stack() {
    stack_t present;
    if (sigaltstack(nullptr, &present) == 0 && !(present.ss_flags & SS_DISABLE)) return true;
    static thread_local uint8_t own[64 * 1024];
    stack_t stack;
    memset(&stack, 0, sizeof stack);
    stack.ss_sp = own;
    stack.ss_size = sizeof own;
    return sigaltstack(&stack, nullptr) == 0;
}

void guard() {
    static const bool once = catch_faults();
    if (!once || !have_signal_stack()) return;
    for (unsigned i = 0; i < MAX_LANES; i++) mprotect(machine.stacks + i * STACK_BYTES, GUARD_BYTES, PROT_NONE);
}
#else
void guard() {}
#endif

void start_lane(unsigned index) {
    Lane& lane = machine.lanes[index];
    lane.state = State::Ready;
    lane.copies.clear();
    lane.groups.clear();
    make_context(&lane.context, machine.stacks + index * STACK_BYTES, lane_main);
}

void reset_shared(uint64_t dynamic_bytes) {
    const uint64_t bytes = MAX_SHARED_BYTES + MAX_DYNAMIC_BYTES + 256 * RED_BYTES;
    machine.arena.resize(bytes / 8 + 8);
    machine.arrays.clear();
    machine.arena_used = RED_BYTES;
    machine.dynamic_bytes = dynamic_bytes;
    memset(machine.arena.data(), RED, machine.arena.size() * 8);
}

uint8_t* arena_start() {
    const uintptr_t start = reinterpret_cast<uintptr_t>(machine.arena.data());
    return reinterpret_cast<uint8_t*>((start + 15) & ~uintptr_t{15});
}

void* find_shared(const std::string& key, uint64_t bytes) {
    uint64_t total = 0;
    for (const SharedArray& array : machine.arrays) {
        if (array.key == key) return arena_start() + array.offset;
        total += array.bytes;
    }
    if (total + bytes > MAX_SHARED_BYTES + MAX_DYNAMIC_BYTES || machine.arrays.size() > 60) {
        die("has no room for " + std::to_string(bytes) + " more bytes of shared memory");
    }
    const uint64_t offset = machine.arena_used;
    machine.arrays.push_back(SharedArray{key, offset, bytes});
    memset(arena_start() + offset, POISON, bytes);
    machine.arena_used = ((offset + bytes + 15) & ~uint64_t{15}) + RED_BYTES;
    return arena_start() + offset;
}

void check_shared() {
    uint64_t clean = 0;
    for (const SharedArray& array : machine.arrays) {
        for (uint64_t i = clean; i < array.offset; i++) {
            if (arena_start()[i] != RED) return fail(0, "its block wrote beside shared array " + array.key);
        }
        clean = array.offset + array.bytes;
    }
    for (uint64_t i = clean; i < machine.arena_used; i++) {
        if (arena_start()[i] != RED) return fail(0, "its block wrote beside shared array " + machine.arrays.back().key);
    }
}

// Barriers of the whole block open when all its lanes are there.
bool open_barrier() {
    const Lane& first = machine.lanes[0];
    for (unsigned i = 0; i < machine.count; i++) {
        const Lane& lane = machine.lanes[i];
        const bool here = lane.state == State::Waiting && lane.operation == Operation::SyncThreads;
        if (!here || !same_place(lane, first)) return false;
    }
    for (unsigned i = 0; i < machine.count; i++) machine.lanes[i].state = State::Ready;
    return true;
}

void report_stuck() {
    for (unsigned i = 0; i < machine.count; i++) {
        const Lane& waiting = machine.lanes[i];
        if (waiting.state != State::Waiting) continue;
        for (unsigned k = 0; k < machine.count; k++) {
            const Lane& other = machine.lanes[k];
            if (other.state == State::Exited || !same_place(other, waiting)) {
                return fail(i, where(waiting) + ", but thread " + std::to_string(k) + " " + where(other));
            }
        }
        return fail(i, where(waiting) + " for ever");
    }
}

void run_block() {
    for (unsigned i = 0; i < machine.count; i++) start_lane(i);
    std::vector<unsigned> ready;
    for (;;) {
        ready.clear();
        unsigned exited = 0;
        for (unsigned i = 0; i < machine.count; i++) {
            if (machine.lanes[i].state == State::Ready) ready.push_back(i);
            exited += machine.lanes[i].state == State::Exited;
        }
        if (exited == machine.count) return check_shared();
        if (ready.empty()) {
            if (open_barrier()) continue;
            return report_stuck();
        }
        for (size_t i = ready.size(); i > 1; i--) std::swap(ready[i - 1], ready[draw() % i]);
        for (unsigned lane : ready) {
            machine.running = lane;
            machine.in_lane = true;
            switch_context(&machine.scheduler, &machine.lanes[lane].context);
            if (machine.failed) return;
        }
    }
}

}  // namespace

Dim3 thread_index() { return Dim3{machine.running, 0, 0}; }
Dim3 block_index() { return Dim3{machine.block, 0, 0}; }
Dim3 block_size() { return Dim3{machine.count, 1, 1}; }
Dim3 grid_size() { return Dim3{machine.grid, 1, 1}; }

void* shared(const char* file, int line, uint64_t bytes) {
    return find_shared(std::string(base(file)) + ":" + std::to_string(line), bytes);
}

void* dynamic_shared() {
    return find_shared("of the launch", machine.dynamic_bytes);
}

void check_access(const void* address, uint64_t bytes) {
    const uint64_t at = reinterpret_cast<uint64_t>(address);
    if (at % bytes != 0) die("accesses " + std::to_string(bytes) + " bytes at an address that is not aligned to them");
    for (uint64_t i = 0; i < machine.region_count; i++) {
        if (machine.regions[i].start <= at && at + bytes <= machine.regions[i].end) return;
    }
    const uint64_t arena = reinterpret_cast<uint64_t>(arena_start());
    if (at >= arena && at + bytes <= arena + machine.arena_used) return;
    die("accesses " + std::to_string(bytes) + " bytes outside of every buffer");
}

void sync_threads(const char* file, int line) {
    Lane& own = current();
    own.operation = Operation::SyncThreads, own.file = file, own.line = line, own.mask = 0;
    own.state = State::Waiting;
    to_scheduler();
}

void sync_warp(const char* file, int line, unsigned mask) {
    arrive_at_warp(Operation::SyncWarp, file, line, mask);
}

uint64_t exchange(Operation operation, const char* file, int line, unsigned mask, uint64_t value, int argument,
                  int width) {
    Lane& own = current();
    own.value = value, own.argument = argument, own.width = width;
    arrive_at_warp(operation, file, line, mask);
    return current().value;
}

unsigned ballot(const char* file, int line, unsigned mask, bool vote) {
    return static_cast<unsigned>(exchange(Operation::Ballot, file, line, mask, vote, 0, 32));
}

void copy_async(void* to, const void* from, uint64_t bytes) {
    check_access(from, bytes);
    check_access(to, bytes);
    current().copies.push_back(Copy{to, from, bytes});
}

void copy_commit() {
    Lane& own = current();
    own.groups.push_back(own.copies);
    own.copies.clear();
}

void copy_wait(unsigned groups_in_flight) {
    Lane& own = current();
    while (own.groups.size() > groups_in_flight) {
        for (const Copy& copy : own.groups.front()) memcpy(copy.to, copy.from, copy.bytes);
        own.groups.pop_front();
    }
}

void load_matrix(const char* file, int line, const void* row, uint32_t fragment[4], bool transposed) {
    check_access(row, 16);
    exchange(Operation::LoadMatrix, file, line, 0xffffffffu, reinterpret_cast<uint64_t>(row), transposed, 32);
    memcpy(fragment, current().words, 16);
}

void multiply_bf16(const char* file, int line, float sum[4], const uint32_t a[4], const uint32_t b[2]) {
    Lane& own = current();
    memcpy(own.words, a, 16);
    memcpy(own.words + 4, b, 8);
    memcpy(own.floats, sum, 16);
    exchange(Operation::Multiply, file, line, 0xffffffffu, 0, 0, 32);
    memcpy(sum, current().floats, 16);
}

}  // namespace hc_emu

struct HcLaunch {
    const hc_emu::Entry* entry;
    const uint64_t* arguments;
    const uint64_t* regions;
    uint64_t region_count;
    uint64_t seed;
    uint32_t grid, first_block, block, shared_bytes, argument_count;
};

struct HcFault {
    uint32_t block, thread;
    char message[512];
};

// Runs blocks `first_block..grid` in an order that the seed chooses; 1 if a lane failed.
extern "C" int hc_emu_launch(const HcLaunch* launch, HcFault* fault) {
    using namespace hc_emu;
    if (machine.stacks == nullptr) {
        void* stacks = mmap(nullptr, MAX_LANES * STACK_BYTES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (stacks == MAP_FAILED) {
            fault->block = fault->thread = 0;
            snprintf(fault->message, sizeof fault->message, "no memory for the lanes' stacks");
            return 1;
        }
        machine.stacks = static_cast<uint8_t*>(stacks);
        machine.lanes.resize(MAX_LANES);
        guard();
    }
    if (launch->argument_count != launch->entry->arguments) {
        fault->block = fault->thread = 0;
        snprintf(fault->message, sizeof fault->message, "it takes %u arguments, got %u", launch->entry->arguments,
                 launch->argument_count);
        return 1;
    }
    machine.count = launch->block;
    machine.grid = launch->grid;
    machine.thunk = launch->entry->thunk;
    machine.arguments = launch->arguments;
    machine.regions = reinterpret_cast<const Region*>(launch->regions);
    machine.region_count = launch->region_count;
    machine.draws = launch->seed;
    machine.failed = false;
    const uint32_t blocks = launch->grid - launch->first_block;
    std::vector<uint32_t> order(blocks);
    for (uint32_t i = 0; i < blocks; i++) order[i] = launch->first_block + i;
    for (uint32_t i = blocks; i > 1; i--) std::swap(order[i - 1], order[draw() % i]);
    for (uint32_t block : order) {
        machine.block = block;
        reset_shared(launch->shared_bytes);
        run_block();
        if (machine.failed) {
            fault->block = block;
            fault->thread = machine.failed_lane;
            memcpy(fault->message, machine.message, sizeof fault->message);
            return 1;
        }
    }
    return 0;
}
