// Modules, functions, launches.
//
// A module is what the program gives the driver: PTX or machine code. It is not run, but read: whether this card would take it,
// whether it has the function, how many arguments that takes and how many threads. What runs is the emulation of that name.
#include "driver.h"
#include "kernels.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>

#include <elf.h>
#include <signal.h>
#include <unistd.h>

namespace driver {
namespace {

struct Module {
    std::string image;
    bool is_text;
};

struct Function {
    const Kernel *kernel;
    unsigned most_threads = 1024;
};

std::mutex guard;
std::set<const void *> modules, functions;
const char *volatile now = nullptr;

// Which kernel touched what is not its own: where it runs, a card would end the program's context.
void touched(int number) {
    const char *name = now ? now : "something that is no kernel";
    const char *what = " touched memory that is not its own\n";
    if (write(2, "driver: ", 8) < 0 || write(2, name, strlen(name)) < 0 || write(2, what, strlen(what)) < 0) _exit(1);
    signal(number, SIG_DFL);
    raise(number);
}

size_t length_of(const Elf64_Ehdr *header) { return header->e_shoff + (size_t)header->e_shnum * header->e_shentsize; }

// The number after a word of PTX.
int number_after(const std::string &text, const char *word, size_t from = 0) {
    const size_t at = text.find(word, from);
    return at == std::string::npos ? -1 : atoi(text.c_str() + at + strlen(word));
}

// Sizes of the arguments that PTX declares.
std::vector<int> declared(const std::string &arguments) {
    std::vector<int> sizes;
    for (size_t at = 0; (at = arguments.find(".param", at)) != std::string::npos; at += 6) {
        const size_t end = arguments.find_first_of(",\n", at);
        const std::string one = arguments.substr(at, end - at);
        if (const size_t bracket = one.find('['); bracket != std::string::npos) sizes.push_back(atoi(one.c_str() + bracket + 1));
        else if (const size_t bits = one.find_first_of("0123456789"); bits != std::string::npos)
            sizes.push_back(atoi(one.c_str() + bits) / 8);
    }
    return sizes;
}

} // namespace
} // namespace driver

using namespace driver;

CARD Result cuModuleLoadData(void **to, const void *image) {
    if (Result code = bound()) return code;
    if (!image) return refuse(INVALID_VALUE, "a module of nothing");
    auto module = std::make_unique<Module>();
    const auto *header = (const Elf64_Ehdr *)image;
    if (memcmp(image, ELFMAG, SELFMAG) == 0) {
        const int made_for = header->e_flags >> 8 & 0xff;
        // machine code runs on the same generation, from the card on that it was made for
        const bool runs = made_for / 10 == capability() / 10 && made_for <= capability();
        if (!runs) return refuse(NO_BINARY_FOR_GPU, "machine code for %d does not run on %d", made_for, capability());
        module->image.assign((const char *)image, length_of(header)), module->is_text = false;
    } else {
        module->image = (const char *)image, module->is_text = true;
        const int least = number_after(module->image, ".target sm_");
        if (least < 0) return refuse(INVALID_PTX, "PTX that names no card");
        if (least > capability()) return refuse(INVALID_PTX, "PTX for %d does not run on %d", least, capability());
    }
    std::lock_guard lock(guard);
    modules.insert(module.get());
    *to = module.release();
    return SUCCESS;
}
CARD Result cuModuleUnload(void *module) {
    std::lock_guard lock(guard);
    if (!modules.erase(module)) return refuse(INVALID_HANDLE, "no such module");
    delete (Module *)module;
    return SUCCESS;
}

CARD Result cuModuleGetFunction(void **to, void *which, const char *name) {
    if (Result code = bound()) return code;
    std::lock_guard lock(guard);
    if (!modules.contains(which)) return refuse(INVALID_HANDLE, "no such module");
    note("function %s", name);
    if (is_listed("SCUMBLE_DRIVER_MISSING", name)) return refuse(NOT_FOUND, "%s is missing, as the environment says", name);
    const Module &module = *(const Module *)which;
    auto function = std::make_unique<Function>();
    std::vector<int> sizes;
    if (module.is_text) {
        const size_t at = module.image.find(".entry " + std::string(name) + "(");
        if (at == std::string::npos) return refuse(NOT_FOUND, "the module has no %s", name);
        const size_t end = module.image.find(')', at), body = module.image.find("\n{", end);
        sizes = declared(module.image.substr(at, end - at));
        const std::string limits = module.image.substr(end, body - end);
        if (const int most = number_after(limits, ".maxntid "); most > 0) function->most_threads = (unsigned)most;
    } else if (module.image.find(".text." + std::string(name) + std::string(1, '\0')) == std::string::npos) {
        return refuse(NOT_FOUND, "the module has no %s", name);
    }
    auto found = kernels().find(name);
    if (found == kernels().end()) return refuse(NOT_FOUND, "%s is not emulated", name);
    function->kernel = &found->second;
    if (module.is_text && sizes != found->second.sizes)
        return refuse(INVALID_IMAGE, "%s takes other arguments in the module than in the emulation", name);
    functions.insert(function.get());
    *to = function.release();
    return SUCCESS;
}
CARD Result cuFuncGetAttribute(int *value, int, void *) {
    *value = 0;
    return SUCCESS;
}
CARD Result cuFuncSetAttribute(void *, int, int) { return SUCCESS; }

CARD Result cuLaunchKernel(void *which, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                           unsigned shared, void *stream, void **arguments, void **extra) {
    if (Result code = bound()) return code;
    {
        std::lock_guard lock(guard);
        if (!functions.contains(which)) return refuse(INVALID_HANDLE, "no such function");
    }
    const auto &[kernel, most_threads] = *(const Function *)which;
    const char *name = kernel->name;
    if (!is_stream(stream)) return refuse(INVALID_HANDLE, "%s in no stream", name);
    if (gx == 0 || gy == 0 || gz == 0 || gx > 0x7fffffffu || gy > 65535 || gz > 65535)
        return refuse(INVALID_VALUE, "%s on a grid of %u %u %u", name, gx, gy, gz);
    const unsigned long long threads = (unsigned long long)bx * by * bz;
    if (threads == 0 || bx > 1024 || by > 1024 || bz > 64 || threads > 1024)
        return refuse(INVALID_VALUE, "%s in blocks of %u %u %u", name, bx, by, bz);
    if (threads > most_threads)
        return refuse(LAUNCH_OUT_OF_RESOURCES, "%s in blocks of %llu threads, made for %u", name, threads, most_threads);
    if (shared > 49152) return refuse(INVALID_VALUE, "%s with %u bytes of shared memory", name, shared);
    if (extra || (!arguments && !kernel->sizes.empty())) return refuse(INVALID_VALUE, "%s without arguments", name);
    for (size_t i = 0; i < kernel->sizes.size(); i++) {
        if (!arguments[i]) return refuse(INVALID_VALUE, "%s without argument %zu", name, i);
    }
    std::lock_guard lock(running);
    static const bool watched = signal(SIGSEGV, touched) != SIG_ERR && signal(SIGBUS, touched) != SIG_ERR;
    (void)watched;
    now = name;
    const unsigned grid[] = {gx, gy, gz}, block[] = {bx, by, bz};
    const auto begun = std::chrono::steady_clock::now();
    kernel->run(grid, block, arguments);
    const auto took = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begun);
    now = nullptr;
    note("launch %s %u %u %u %u %u %u %lld", name, gx, gy, gz, bx, by, bz, (long long)took.count());
    // a kernel that is wrong
    if (is_listed("SCUMBLE_DRIVER_WRONG", name)) {
        for (int i : kernel->written) clear(*(Address *)arguments[i]);
    }
    return SUCCESS;
}
