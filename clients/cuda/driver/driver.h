// What the driver's parts share: its codes, its settings, its one card.
//
// The types are those of CUDA's C interface, written down here, so that nothing of NVIDIA's is needed to build this.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>

enum Result : int {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    NO_BINARY_FOR_GPU = 209,
    INVALID_PTX = 218,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    LAUNCH_OUT_OF_RESOURCES = 701,
};

using Address = unsigned long long;

#define CARD extern "C" __attribute__((visibility("default")))

// the other libraries use these too
namespace driver __attribute__((visibility("default"))) {

// A whole number from the environment.
long long setting(const char *name, long long otherwise);

// Whether a comma-separated list in the environment names something.
bool is_listed(const char *name, const std::string &word);

// A line in the log, where the environment has SCUMBLE_DRIVER_LOG: a file to which lines are appended.
__attribute__((format(printf, 1, 2))) void note(const char *format, ...);

// A refusal: its reason goes to stderr and to the log, since a code alone says little.
__attribute__((format(printf, 2, 3))) Result refuse(Result code, const char *format, ...);

// What is wrong with this thread; SUCCESS where the card is its own. As with a card, a thread has to say so first.
Result bound();

// Whether so many bytes from this address on are memory of the card, all of one allocation.
bool is_inside(Address at, size_t bytes);

// Fills everything from this address to the end of its allocation with zeros.
void clear(Address at);

bool is_stream(const void *stream);

// Times ten: 90 for 9.0.
int capability();

// Kernels run one at a time: those of a card do too, in the one stream that the program has.
extern std::mutex running;

} // namespace driver
