// Kernels by their names: what was compiled for this processor in place of a card.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <type_traits>
#include <vector>

namespace driver {

struct Kernel {
    const char *name;
    // sizes of the arguments, in order
    std::vector<int> sizes;
    // the arguments that it writes to
    std::vector<int> written;
    void (*run)(const unsigned *grid, const unsigned *block, void **arguments);
};

inline std::map<std::string, Kernel> &kernels() {
    static std::map<std::string, Kernel> all;
    return all;
}

// A kernel from its signature: whatever it gets a pointer to that is not const, it writes.
template <class... A> Kernel described(const char *name, void (*)(A...), decltype(Kernel::run) run) {
    Kernel kernel{name, {(int)sizeof(A)...}, {}, run};
    int at = 0;
    ((std::is_pointer_v<A> && !std::is_const_v<std::remove_pointer_t<A>> ? kernel.written.push_back(at) : void(), at++), ...);
    return kernel;
}

struct Added {
    explicit Added(Kernel kernel) { kernels()[kernel.name] = kernel; }
};

} // namespace driver
