/* A look-alike of the Objective-C runtime and of Metal, in one library for Linux on x86-64: what qdq's host code for
 * Metal asks of them, with a processor that is the host's, flushing subnormals as Apple's do. The kernels' text is
 * compiled as C++ (metal_stdlib); the 32 threads of a simdgroup are fibers that a barrier switches between.
 *
 * It is stricter than Metal: work is done when somebody waits for it or asks, so that nobody reads results too early; a
 * compile that does not ask for safe and precise mathematics is refused; unknown methods, objects released too often or
 * outside of a pool, unbound buffers and barriers that not all threads reach end the process with a sentence; what
 * lives is counted. fake_metal_set_fault has it fail on demand. */
#include <atomic>
#include <csetjmp>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#include <dlfcn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <ucontext.h>
#include <unistd.h>
#include <xmmintrin.h>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

[[noreturn]] __attribute__((format(printf, 1, 2))) void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("fake Metal: ", stderr);
    vfprintf(stderr, format, args);
    fputs("\n", stderr);
    va_end(args);
    abort();
}

typedef unsigned long ns_uint;
struct mtl_size {
    ns_uint width, height, depth;
};
enum { SIMDGROUP = 32, SHARED_MOST = 32 << 10, BUFFERS = 9, BYTES_MOST = 4096 };
const size_t longest_buffer = (size_t)16 << 30;

/* ---- Faults ---- */

std::mutex fault_mutex;
std::map<std::string, long> faults; /* by name: after so many times, once; or always, if 0 */

bool fault(const char *name) {
    std::lock_guard<std::mutex> lock(fault_mutex);
    auto f = faults.find(name);
    if (f == faults.end()) return false;
    if (f->second == 0) return true;
    if (--f->second > 0) return false;
    faults.erase(f);
    return true;
}

/* ---- Objects ---- */

struct object {
    std::atomic<long> count{1};
    static std::atomic<long> live;
    object() { live++; }
    virtual ~object() { live--; }
    virtual const char *kind() const = 0;
};
std::atomic<long> object::live{0};
typedef object *id;

id retain(id o) {
    if (o) o->count++;
    return o;
}
void release(id o) {
    long left = o ? --o->count : 1;
    if (left < 0) die("%s is released too often", o->kind());
    if (left == 0) delete o;
}

thread_local std::vector<id> pool;
thread_local int pools;
template <class T> T *autorelease(T *o) {
    if (pools == 0) die("%s belongs to no pool: it leaks", o->kind());
    pool.push_back(o);
    return o;
}

/* A held reference. */
struct reference {
    id o;
    explicit reference(id object = nullptr) : o(retain(object)) {}
    reference(const reference &other) : o(retain(other.o)) {}
    reference &operator=(const reference &other) {
        id old = o;
        o = retain(other.o);
        release(old);
        return *this;
    }
    ~reference() { release(o); }
};

#define KIND(name)                                                                                                     \
    const char *kind() const override { return name; }

struct string : object {
    KIND("a string")
    std::string text;
    explicit string(const std::string &s) : text(s) {}
};
struct error : object {
    KIND("an error")
    std::string text;
    explicit error(const std::string &s) : text(s) {}
};
struct options : object {
    KIND("compile options")
    long math_mode = 1, functions = 0; /* relaxed, fast: not what qdq wants */
    bool fast_math = true;
};
struct buffer : object {
    KIND("a buffer")
    unsigned char *bytes;
    size_t length, mapped; /* mapped: 0 where the memory is the caller's */
    ~buffer() override {
        if (mapped > 0) munmap(bytes, mapped);
    }
};
typedef void kernel_function(const void *work, const void *input, void *output, const void *gradient, const void *low,
                             const void *high, const void *importance, const void *row_sums, const void *words,
                             void *shared, uint32_t group, uint32_t thread);
struct library : object {
    KIND("a library")
    void *handle = nullptr; /* stays loaded: its text may come again */
};
struct function : object {
    KIND("a function")
    kernel_function *run;
};
struct pipeline : object {
    KIND("a pipeline")
    kernel_function *run;
};
struct queue;
struct command : object {
    KIND("a command buffer")
    queue *owner;
    std::vector<std::function<void()>> work;
    bool encoding = false, committed = false;
    std::atomic<ns_uint> status{0};
    std::string failure;
};
struct queue : object {
    KIND("a queue")
    std::recursive_mutex mutex;
    std::deque<reference> pending; /* committed, in order */
    bool lost = false;
};
struct encoder : object {
    KIND("an encoder")
    command *to;
    reference pipe, bound[BUFFERS];
    size_t offsets[BUFFERS] = {0};
    std::vector<unsigned char> bytes;
    ns_uint shared = 0;
    bool ended = false;
};
struct machine : object {
    KIND("a device")
};
struct array : object {
    KIND("an array")
    std::vector<reference> items;
};
struct named_class : object {
    KIND("a class")
    std::string name;
};

/* ---- Simdgroups ---- */

struct fiber {
    ucontext_t start;
    jmp_buf at;
    bool started, done;
};
struct simdgroup {
    fiber fibers[SIMDGROUP];
    char *stacks = nullptr;
    jmp_buf home;
    ucontext_t home_context;
    int current, waiting, finished;
    std::function<void(int)> body;
};
thread_local std::unique_ptr<simdgroup> lanes;
const size_t stack_bytes = 256 << 10;

void enter_fiber(int lane);

void run_fiber() {
    simdgroup *g = lanes.get();
    int lane = g->current;
    g->body(lane);
    g->fibers[lane].done = true;
    g->finished++;
    if (g->waiting > 0) die("a barrier that not all threads of a simdgroup reach");
    if (lane + 1 < SIMDGROUP) enter_fiber(lane + 1);
    _longjmp(g->home, 1);
}

void enter_fiber(int lane) {
    simdgroup *g = lanes.get();
    fiber &f = g->fibers[lane];
    g->current = lane;
    if (f.started) _longjmp(f.at, 1);
    f.started = true;
    getcontext(&f.start);
    f.start.uc_stack.ss_sp = g->stacks + lane * stack_bytes;
    f.start.uc_stack.ss_size = stack_bytes;
    f.start.uc_link = nullptr;
    makecontext(&f.start, run_fiber, 0);
    setcontext(&f.start);
}

/* Where a barrier's last thread has come, the first goes on. */
void run_simdgroup(std::function<void(int)> body) {
    if (!lanes) {
        lanes.reset(new simdgroup);
        lanes->stacks =
            (char *)mmap(nullptr, SIMDGROUP * stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (lanes->stacks == MAP_FAILED) die("no memory for stacks");
    }
    simdgroup *g = lanes.get();
    g->body = std::move(body);
    g->waiting = g->finished = 0;
    for (fiber &f : g->fibers) f.started = f.done = false;
    if (_setjmp(g->home) == 0) enter_fiber(0);
    if (g->finished != SIMDGROUP) die("a simdgroup did not end");
}

/* The kernels'. */
void barrier() {
    simdgroup *g = lanes.get();
    if (g->finished > 0) die("a barrier that not all threads of a simdgroup reach");
    int lane = g->current;
    g->waiting = lane + 1 < SIMDGROUP ? g->waiting + 1 : 0;
    if (_setjmp(g->fibers[lane].at) == 0) enter_fiber((lane + 1) % SIMDGROUP);
}

/* ---- Work ---- */

void run_dispatch(const pipeline *p, const std::vector<unsigned char> &bytes, const reference *bound,
                  const size_t *offsets, ns_uint shared, mtl_size groups, mtl_size threads) {
    void *at[BUFFERS];
    for (int i = 1; i < BUFFERS; i++) at[i] = ((buffer *)bound[i].o)->bytes + offsets[i];
    std::vector<uint64_t> memory((shared + 7) / 8);
    for (ns_uint group = 0; group < groups.width; group++) {
        memset(memory.data(), 0xcd, shared); /* as anybody may have left it */
        for (ns_uint first = 0; first < threads.width; first += SIMDGROUP)
            run_simdgroup([&](int lane) {
                p->run(bytes.data(), at[1], at[2], at[3], at[4], at[5], at[6], at[7], at[8], memory.data(),
                       (uint32_t)group, (uint32_t)first + (uint32_t)lane);
            });
    }
}

/* Does what was committed, in order, up to this one. */
void finish(command *c) {
    if (!c->committed) return;
    std::lock_guard<std::recursive_mutex> lock(c->owner->mutex);
    queue *q = c->owner;
    while (c->status < 4 && !q->pending.empty()) {
        reference next = q->pending.front();
        q->pending.pop_front();
        command *now = (command *)next.o;
        unsigned csr = _mm_getcsr();
        _mm_setcsr(csr | 0x8040); /* flush to zero, subnormals are zeros */
        if (fault("lost")) q->lost = true;
        if (q->lost)
            now->failure = "the fake device is lost";
        else
            for (auto &work : now->work) work();
        _mm_setcsr(csr);
        now->work.clear();
        now->status = now->failure.empty() ? 4 : 5;
    }
}

/* ---- Methods ---- */

void give_error(id *to, const std::string &text) {
    if (to) *to = autorelease(new error(text));
}

std::string read_file(const std::string &path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
}

#ifdef FAKE_METAL_CLANG
/* What C++ does not see: whether pointers keep to their address spaces. C++ for OpenCL does, but takes a choice between
 * a variable and a result of the same class for one between two types. */
std::string check_address_spaces(const std::string &file, const std::string &log) {
    std::string call = FAKE_METAL_CLANG " --target=spir64 -x cl -cl-std=clc++2021 -Xclang -finclude-default-header -w "
                                        "-fsyntax-only -I" FAKE_METAL_INCLUDE "/address_spaces " +
                       file + " 2>" + log;
    return system(call.c_str()) == 0 ? "" : read_file(log);
}
#else
std::string check_address_spaces(const std::string &, const std::string &) { return ""; }
#endif

std::string compile(const std::string &source, void **handle) {
    static std::mutex mutex;
    std::lock_guard<std::mutex> lock(mutex);
    const char *folder = getenv("QDQ_FAKE_METAL_CACHE");
    if (!folder) folder = FAKE_METAL_CACHE;
    mkdir(folder, 0777);
    std::string text = source;
    const std::string attribute = " [[threadgroup(0)]]"; /* here a keyword that is nothing */
    size_t found = text.find(attribute);
    if (found == std::string::npos) return "no kernel has threadgroup memory";
    text.erase(found, attribute.size());
    char name[64];
    const std::string headers =
        read_file(FAKE_METAL_INCLUDE "/metal_stdlib") + read_file(FAKE_METAL_INCLUDE "/address_spaces/metal_stdlib");
    const std::string all = FAKE_METAL_COMPILER + headers + text; /* what the result depends on */
    snprintf(name, sizeof name, "/%016zx_%zu", std::hash<std::string>()(all), text.size());
    std::string base = std::string(folder) + name, library = base + ".so";
    std::string mine = base + "." + std::to_string(getpid());
    if (access(library.c_str(), R_OK) != 0) {
        std::ofstream(mine + ".cpp") << text;
        std::string call = FAKE_METAL_COMPILER
                           " -std=c++14 -O1 -w -ffp-contract=off -fPIC -shared -I" FAKE_METAL_INCLUDE " -o " +
                           mine + ".so " + mine + ".cpp 2>" + mine + ".log";
        int failed = system(call.c_str());
        std::string problem =
            failed == 0 ? check_address_spaces(mine + ".cpp", mine + ".log") : read_file(mine + ".log");
        if (failed != 0 && problem.empty()) problem = "the compiler cannot be run";
        if (problem.empty() && rename((mine + ".so").c_str(), library.c_str()) != 0) problem = "no place in the cache";
        for (const char *end : {".cpp", ".log", ".so"}) unlink((mine + end).c_str());
        if (!problem.empty()) return problem;
    }
    *handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!*handle) return dlerror();
    *(void (**)())dlsym(*handle, "fake_metal_barrier") = barrier;
    return "";
}

typedef const char *sel;

id new_library(machine *, sel, string *source, options *o, id *e) {
    bool old = fault("old"), safe = old ? !o->fast_math : o->math_mode == 0 && o->functions == 1;
    library *l = nullptr;
    void *handle = nullptr;
    std::string problem;
    if (!safe)
        problem = "the compile does not ask for safe and precise mathematics";
    else if (fault("compile"))
        problem = "program_source:1:1: error: a fault was asked for";
    else
        problem = compile(source->text, &handle);
    if (problem.empty()) {
        l = new library;
        l->handle = handle;
        give_error(e, "a warning, which is no failure");
    } else {
        give_error(e, problem);
    }
    return l;
}
id new_function(library *l, sel, string *name) {
    void *address = dlsym(l->handle, name->text.c_str());
    if (!address) return nullptr;
    auto *f = new function;
    f->run = (kernel_function *)address;
    return f;
}
id new_pipeline(machine *, sel, function *f, id *e) {
    if (fault("pipeline")) {
        give_error(e, "a fault was asked for");
        return nullptr;
    }
    auto *p = new pipeline;
    p->run = f->run;
    return p;
}
id new_buffer(machine *, sel, ns_uint length, ns_uint mode) {
    if (mode != 0) die("a buffer that is not shared");
    if (length == 0 || length > longest_buffer || fault("buffer")) return nullptr;
    size_t page = 4096, mapped = (length + page - 1) / page * page + page;
    void *at = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) return nullptr;
    mprotect((char *)at + mapped - page, page, PROT_NONE); /* a wall */
    auto *b = new buffer;
    b->bytes = (unsigned char *)at;
    b->length = length;
    b->mapped = mapped;
    return b;
}
id new_buffer_of_pages(machine *, sel, void *at, ns_uint length, ns_uint mode, id deallocator) {
    ns_uint page = (ns_uint)getpagesize();
    if (mode != 0 || deallocator) die("pages that are not shared, or freed by Metal");
    if ((uintptr_t)at % page != 0 || length % page != 0 || length == 0 || fault("buffer")) return nullptr;
    auto *b = new buffer;
    b->bytes = (unsigned char *)at;
    b->length = length;
    b->mapped = 0;
    return b;
}
void *contents(buffer *b, sel) { return b->bytes; }
id new_queue(machine *, sel) { return fault("queue") ? nullptr : new queue; }
id new_command(queue *q, sel) {
    auto *c = autorelease(new command);
    c->owner = q; /* which the device keeps longer */
    return c;
}
id new_encoder(command *c, sel) {
    if (c->encoding || c->committed) die("an encoder of a command buffer that has one, or is committed");
    c->encoding = true;
    auto *e = autorelease(new encoder);
    e->to = c;
    return e;
}
void set_pipeline(encoder *e, sel, pipeline *p) { e->pipe = reference(p); }
void set_buffer(encoder *e, sel, buffer *b, ns_uint offset, ns_uint index) {
    if (index == 0 || index >= BUFFERS || !b || offset >= b->length) die("buffer %lu at %lu", index, offset);
    e->bound[index] = reference(b);
    e->offsets[index] = offset;
}
void set_bytes(encoder *e, sel, const void *bytes, ns_uint length, ns_uint index) {
    if (index != 0 || length > BYTES_MOST) die("%lu bytes at %lu", length, index);
    e->bytes.assign((const unsigned char *)bytes, (const unsigned char *)bytes + length);
}
void set_shared(encoder *e, sel, ns_uint length, ns_uint index) {
    if (index != 0 || length == 0 || length % 16 != 0) die("threadgroup memory of %lu bytes at %lu", length, index);
    e->shared = length;
}
void dispatch(encoder *e, sel, mtl_size groups, mtl_size threads) {
    auto *p = (pipeline *)e->pipe.o;
    if (e->ended || !p || groups.width == 0 || groups.width > UINT32_MAX) die("a dispatch of nothing");
    if (groups.height != 1 || groups.depth != 1 || threads.height != 1 || threads.depth != 1)
        die("a dispatch in planes");
    ns_uint most = fault("few threads") ? 64 : 1024;
    if (threads.width == 0 || threads.width > most || threads.width % SIMDGROUP != 0) die("%lu threads", threads.width);
    if (e->shared > SHARED_MOST) die("%lu bytes of threadgroup memory", e->shared);
    std::vector<reference> bound(e->bound, e->bound + BUFFERS);
    for (int i = 1; i < BUFFERS; i++)
        if (!bound[i].o) die("buffer %d is not bound", i);
    std::vector<size_t> offsets(e->offsets, e->offsets + BUFFERS);
    reference pipe = e->pipe;
    std::vector<unsigned char> bytes = e->bytes;
    ns_uint shared = e->shared;
    e->to->work.push_back(
        [=]() { run_dispatch((pipeline *)pipe.o, bytes, bound.data(), offsets.data(), shared, groups, threads); });
}
void copy_buffer(encoder *e, sel, buffer *from, ns_uint from_at, buffer *to, ns_uint to_at, ns_uint length) {
    if (from_at + length > from->length || to_at + length > to->length) die("a copy past a buffer's end");
    reference a(from), b(to);
    e->to->work.push_back([=]() { memmove(((buffer *)b.o)->bytes + to_at, ((buffer *)a.o)->bytes + from_at, length); });
}
void end_encoding(encoder *e, sel) {
    if (e->ended) die("an encoder ends twice");
    e->ended = true;
    e->to->encoding = false;
}
void commit(command *c, sel) {
    if (c->encoding || c->committed) die("a command buffer is committed while it is encoded, or twice");
    std::lock_guard<std::recursive_mutex> lock(c->owner->mutex);
    c->committed = true;
    c->status = 2;
    c->owner->pending.push_back(reference(c));
}
void wait(command *c, sel) {
    if (!c->committed) die("a wait for what is not committed");
    finish(c);
}
ns_uint status(command *c, sel) {
    finish(c);
    return c->status;
}
id failure(command *c, sel) { return c->failure.empty() ? nullptr : autorelease(new error(c->failure)); }
double gpu_start(command *, sel) { return 1.0; }
double gpu_end(command *, sel) { return 1.5; }
void set_math_mode(options *o, sel, long mode) { o->math_mode = mode; }
void set_functions(options *o, sel, long functions) { o->functions = functions; }
void set_fast_math(options *o, sel, bool fast) { o->fast_math = fast; }
id make_string(named_class *, sel, const char *text) { return autorelease(new string(text)); }
const char *utf8(string *s, sel) { return s->text.c_str(); }
id description(error *e, sel) { return autorelease(new string(e->text)); }
id new_object(named_class *k, sel) {
    if (k->name != "MTLCompileOptions") die("a new %s", k->name.c_str());
    return new options;
}
id name_of(machine *, sel) { return autorelease(new string("Fake M1")); }
bool has_unified_memory(machine *, sel) { return true; }
uint64_t working_set(machine *, sel) { return (uint64_t)8 << 30; }
ns_uint max_buffer_length(machine *, sel) { return longest_buffer; }
ns_uint width_of(pipeline *, sel) { return fault("wide") ? 64 : SIMDGROUP; }
ns_uint threads_of(pipeline *, sel) { return fault("few threads") ? 64 : 1024; }
ns_uint array_count(array *a, sel) { return a->items.size(); }
id array_item(array *a, sel, ns_uint i) { return a->items[i].o; }
id retain_object(id o, sel) { return retain(o); }
void release_object(id o, sel) { release(o); }
bool responds(id o, sel, const char *method);

struct method {
    const char *kind, *name; /* kind NULL: of all objects */
    void *code;
};
#define METHOD(kind, name, code)                                                                                       \
    { kind, name, (void *)(code) }
const method methods[] = {
    METHOD("a device", "newLibraryWithSource:options:error:", new_library),
    METHOD("a device", "newComputePipelineStateWithFunction:error:", new_pipeline),
    METHOD("a device", "newBufferWithLength:options:", new_buffer),
    METHOD("a device", "newBufferWithBytesNoCopy:length:options:deallocator:", new_buffer_of_pages),
    METHOD("a device", "newCommandQueue", new_queue),
    METHOD("a device", "name", name_of),
    METHOD("a device", "hasUnifiedMemory", has_unified_memory),
    METHOD("a device", "recommendedMaxWorkingSetSize", working_set),
    METHOD("a device", "maxBufferLength", max_buffer_length),
    METHOD("a library", "newFunctionWithName:", new_function),
    METHOD("a pipeline", "threadExecutionWidth", width_of),
    METHOD("a pipeline", "maxTotalThreadsPerThreadgroup", threads_of),
    METHOD("a buffer", "contents", contents),
    METHOD("a queue", "commandBuffer", new_command),
    METHOD("a command buffer", "computeCommandEncoder", new_encoder),
    METHOD("a command buffer", "blitCommandEncoder", new_encoder),
    METHOD("a command buffer", "commit", commit),
    METHOD("a command buffer", "waitUntilCompleted", wait),
    METHOD("a command buffer", "status", status),
    METHOD("a command buffer", "error", failure),
    METHOD("a command buffer", "GPUStartTime", gpu_start),
    METHOD("a command buffer", "GPUEndTime", gpu_end),
    METHOD("an encoder", "setComputePipelineState:", set_pipeline),
    METHOD("an encoder", "setBuffer:offset:atIndex:", set_buffer),
    METHOD("an encoder", "setBytes:length:atIndex:", set_bytes),
    METHOD("an encoder", "setThreadgroupMemoryLength:atIndex:", set_shared),
    METHOD("an encoder", "dispatchThreadgroups:threadsPerThreadgroup:", dispatch),
    METHOD("an encoder", "copyFromBuffer:sourceOffset:toBuffer:destinationOffset:size:", copy_buffer),
    METHOD("an encoder", "endEncoding", end_encoding),
    METHOD("compile options", "setMathMode:", set_math_mode),
    METHOD("compile options", "setMathFloatingPointFunctions:", set_functions),
    METHOD("compile options", "setFastMathEnabled:", set_fast_math),
    METHOD("a string", "UTF8String", utf8),
    METHOD("an error", "localizedDescription", description),
    METHOD("an array", "count", array_count),
    METHOD("an array", "objectAtIndex:", array_item),
    METHOD("a class", "stringWithUTF8String:", make_string),
    METHOD("a class", "new", new_object),
    METHOD(nullptr, "retain", retain_object),
    METHOD(nullptr, "release", release_object),
    METHOD(nullptr, "respondsToSelector:", responds),
};

void *find(id o, sel name) {
    bool new_math = strcmp(name, "setMathMode:") == 0 || strcmp(name, "setMathFloatingPointFunctions:") == 0;
    if (new_math && fault("old")) return nullptr;
    for (const method &m : methods)
        if (m.name == name && (!m.kind || strcmp(m.kind, o->kind()) == 0)) return m.code;
    return nullptr;
}
bool responds(id o, sel, const char *method) { return find(o, method) != nullptr; }

} // namespace

/* ---- What the library shows ---- */

/* A selector is the method table's own name, so that they compare as pointers. */
EXPORT sel sel_registerName(const char *name) {
    for (const method &m : methods)
        if (strcmp(m.name, name) == 0) return m.name;
    return strdup(name);
}
EXPORT id objc_getClass(const char *name) {
    static std::mutex mutex;
    static std::map<std::string, named_class *> classes;
    std::lock_guard<std::mutex> lock(mutex);
    named_class *&k = classes[name];
    if (!k) {
        k = new named_class;
        k->name = name;
    }
    return k;
}
EXPORT void *objc_autoreleasePoolPush(void) {
    pools++;
    return (void *)(pool.size() + 1);
}
EXPORT void objc_autoreleasePoolPop(void *mark) {
    if (--pools < 0) die("a pool ends that did not begin");
    while (pool.size() + 1 > (size_t)mark) {
        id o = pool.back();
        pool.pop_back();
        release(o);
    }
}
EXPORT id MTLCreateSystemDefaultDevice(void) { return fault("no device") ? nullptr : new machine; }
EXPORT id MTLCopyAllDevices(void) {
    auto *a = new array;
    for (int i = 0; i < 2 && !fault("no list") && !fault("no device"); i++) {
        machine *m = new machine;
        a->items.push_back(reference(m));
        release(m);
    }
    return a;
}

/* For tests: a fault by its name, the n-th time, or always for 0; "" ends all. And how many objects live. */
EXPORT void fake_metal_set_fault(const char *name, long n) {
    std::lock_guard<std::mutex> lock(fault_mutex);
    if (*name)
        faults[name] = n;
    else
        faults.clear();
}
EXPORT long fake_metal_live(void) { return object::live; }
/* What is wrong with a text; "": it compiles. */
EXPORT const char *fake_metal_compile(const char *text) {
    static thread_local std::string problem;
    void *handle;
    problem = compile(text, &handle);
    return problem.c_str();
}

extern "C" __attribute__((visibility("hidden"), used)) void *fake_metal_find(id o, sel name) {
    void *code = find(o, name);
    if (!code) die("%s has no method %s", o->kind(), name);
    return code;
}

/* objc_msgSend keeps all arguments and jumps to the method. A message to nil gives 0. */
__asm__(".text\n"
        ".globl objc_msgSend\n"
        ".type objc_msgSend, @function\n"
        "objc_msgSend:\n"
        "    test %rdi, %rdi\n"
        "    jne 1f\n"
        "    xor %eax, %eax\n"
        "    xorps %xmm0, %xmm0\n"
        "    ret\n"
        "1:  push %rbp\n"
        "    mov %rsp, %rbp\n"
        "    push %rdi\n"
        "    push %rsi\n"
        "    push %rdx\n"
        "    push %rcx\n"
        "    push %r8\n"
        "    push %r9\n"
        "    call fake_metal_find\n"
        "    mov %rax, %r11\n"
        "    pop %r9\n"
        "    pop %r8\n"
        "    pop %rcx\n"
        "    pop %rdx\n"
        "    pop %rsi\n"
        "    pop %rdi\n"
        "    pop %rbp\n"
        "    jmp *%r11\n"
        ".size objc_msgSend, . - objc_msgSend\n");
