// The card itself: what it says of itself, its context, its streams, events and pools.
//
// A stream does everything at once, so whatever waits has nothing to wait for.
#include "driver.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>

#include <signal.h>
#include <unistd.h>

namespace driver {
namespace {

bool started = false;
// anything that has an address
int primary, pool;
thread_local void *current = nullptr;

std::mutex guard;
std::set<const void *> streams, events;
unsigned long long threshold = 0;

} // namespace

std::mutex running;

int capability() { return (int)setting("SCUMBLE_DRIVER_CAPABILITY", 90); }

Result bound() {
    if (!started) return refuse(NOT_INITIALIZED, "the driver was not initialised");
    return current ? SUCCESS : refuse(INVALID_CONTEXT, "a thread uses the card without having said so");
}

bool is_stream(const void *stream) {
    // the default streams have numbers for names
    if ((uintptr_t)stream <= 2) return true;
    std::lock_guard lock(guard);
    return streams.contains(stream);
}

} // namespace driver

using namespace driver;

// Codes of CUDA that this driver gives.
static const char *name_of(int code) {
    static const std::map<int, const char *> names = {
        {0, "CUDA_SUCCESS"}, {1, "CUDA_ERROR_INVALID_VALUE"}, {2, "CUDA_ERROR_OUT_OF_MEMORY"},
        {3, "CUDA_ERROR_NOT_INITIALIZED"}, {101, "CUDA_ERROR_INVALID_DEVICE"}, {200, "CUDA_ERROR_INVALID_IMAGE"},
        {201, "CUDA_ERROR_INVALID_CONTEXT"}, {209, "CUDA_ERROR_NO_BINARY_FOR_GPU"}, {218, "CUDA_ERROR_INVALID_PTX"},
        {400, "CUDA_ERROR_INVALID_HANDLE"}, {500, "CUDA_ERROR_NOT_FOUND"}, {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"}};
    auto found = names.find(code);
    return found == names.end() ? nullptr : found->second;
}

CARD Result cuGetErrorName(int code, const char **name) {
    *name = name_of(code);
    return *name ? SUCCESS : INVALID_VALUE;
}
CARD Result cuGetErrorString(int code, const char **text) { return cuGetErrorName(code, text); }

CARD Result cuInit(unsigned) {
    started = true;
    return SUCCESS;
}
CARD Result cuDriverGetVersion(int *version) {
    *version = (int)setting("SCUMBLE_DRIVER_VERSION", 13000);
    return SUCCESS;
}

CARD Result cuDeviceGetCount(int *count) {
    if (!started) return NOT_INITIALIZED;
    *count = (int)setting("SCUMBLE_DRIVER_CARDS", 1);
    return SUCCESS;
}
CARD Result cuDeviceGet(int *card, int index) {
    // all cards are this one
    int count = 0;
    if (Result code = cuDeviceGetCount(&count)) return code;
    if (index < 0 || index >= count) return refuse(INVALID_DEVICE, "there is no card %d", index);
    *card = index;
    return SUCCESS;
}
CARD Result cuDeviceGetName(char *name, int length, int) {
    snprintf(name, (size_t)length, "Emulated on the CPU");
    return SUCCESS;
}
CARD Result cuDeviceGetUuid_v2(void *uuid, int) {
    memset(uuid, 7, 16);
    return SUCCESS;
}
CARD Result cuDeviceGetUuid(void *uuid, int card) { return cuDeviceGetUuid_v2(uuid, card); }

CARD Result cuDeviceGetAttribute(int *value, int attribute, int) {
    static const std::map<int, int> values = {
        {1, 1024}, {2, 1024}, {3, 1024}, {4, 64},             // threads of a block, in all and along each side
        {5, 0x7fffffff}, {6, 65535}, {7, 65535},              // blocks
        {8, 49152}, {9, 65536}, {10, 32}, {11, 0x7fffffff},   // shared memory, constants, a warp, pitch
        {12, 65536}, {13, 1980000}, {39, 2048}, {41, 1},      // registers, clock, threads of a multiprocessor, one address space
        {81, 233472}, {82, 65536}, {83, 1}, {97, 232448},     // shared memory and registers of a multiprocessor
        {115, 1},                                             // pools of memory
    };
    if (attribute == 75) *value = capability() / 10;
    else if (attribute == 76) *value = capability() % 10;
    else if (attribute == 16) *value = (int)setting("SCUMBLE_DRIVER_MULTIPROCESSORS", 132);
    else if (auto found = values.find(attribute); found != values.end()) *value = found->second;
    else return refuse(INVALID_VALUE, "attribute %d of the card is asked for", attribute);
    return SUCCESS;
}

CARD Result cuDevicePrimaryCtxRetain(void **context, int) {
    *context = &primary;
    return started ? SUCCESS : NOT_INITIALIZED;
}
CARD Result cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
CARD Result cuCtxGetCurrent(void **context) {
    *context = current;
    return SUCCESS;
}
CARD Result cuCtxSetCurrent(void *context) {
    if (context && context != &primary) return refuse(INVALID_CONTEXT, "no such context");
    current = context;
    return SUCCESS;
}
CARD Result cuCtxGetDevice(int *card) {
    *card = 0;
    return bound();
}
CARD Result cuCtxSynchronize() { return bound(); }
CARD Result cuCtxSetFlags(unsigned) { return bound(); }

CARD Result cuStreamCreate(void **stream, unsigned) {
    if (Result code = bound()) return code;
    *stream = malloc(16);
    std::lock_guard lock(guard);
    streams.insert(*stream);
    return SUCCESS;
}
CARD Result cuStreamCreateWithPriority(void **stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }
CARD Result cuStreamDestroy_v2(void *stream) {
    std::lock_guard lock(guard);
    if (!streams.erase(stream)) return refuse(INVALID_HANDLE, "a stream is destroyed that is none");
    free(stream);
    return SUCCESS;
}
static Result known(const void *stream) { return is_stream(stream) ? SUCCESS : refuse(INVALID_HANDLE, "no such stream"); }
CARD Result cuStreamSynchronize(void *stream) { return known(stream); }
CARD Result cuStreamQuery(void *stream) { return known(stream); }
CARD Result cuStreamIsCapturing(void *stream, int *status) {
    *status = 0;
    return known(stream);
}
CARD Result cuLaunchHostFunc(void *stream, void (*call)(void *), void *with) {
    if (Result code = known(stream)) return code;
    call(with);
    return SUCCESS;
}

CARD Result cuEventCreate(void **event, unsigned) {
    if (Result code = bound()) return code;
    *event = malloc(16);
    std::lock_guard lock(guard);
    events.insert(*event);
    return SUCCESS;
}
static Result happened(const void *event) {
    std::lock_guard lock(guard);
    return events.contains(event) ? SUCCESS : refuse(INVALID_HANDLE, "no such event");
}
CARD Result cuEventDestroy_v2(void *event) {
    std::lock_guard lock(guard);
    if (!events.erase(event)) return refuse(INVALID_HANDLE, "an event is destroyed that is none");
    free(event);
    return SUCCESS;
}
CARD Result cuEventRecord(void *event, void *stream) {
    if (Result code = known(stream)) return code;
    return happened(event);
}
CARD Result cuEventSynchronize(void *event) { return happened(event); }
CARD Result cuEventQuery(void *event) { return happened(event); }
CARD Result cuEventElapsedTime_v2(float *time, void *, void *) {
    *time = 0;
    return SUCCESS;
}
CARD Result cuStreamWaitEvent(void *stream, void *event, unsigned) {
    if (Result code = known(stream)) return code;
    return happened(event);
}

CARD Result cuDeviceGetDefaultMemPool(void **to, int) {
    *to = &pool;
    return SUCCESS;
}
CARD Result cuDeviceGetMemPool(void **to, int) {
    *to = &pool;
    return SUCCESS;
}
static Result owned(const void *which) { return which == &pool ? SUCCESS : refuse(INVALID_VALUE, "no such pool of memory"); }
CARD Result cuMemPoolSetAttribute(void *which, int attribute, void *value) {
    // 4: how much memory stays with the process
    if (attribute == 4) memcpy(&threshold, value, 8), note("pool keeps %llu", threshold);
    return owned(which);
}
CARD Result cuMemPoolGetAttribute(void *which, int attribute, void *value) {
    if (attribute == 4) memcpy(value, &threshold, 8);
    return owned(which);
}
CARD Result cuMemPoolTrimTo(void *which, size_t left) {
    note("pool trimmed to %zu", left);
    return owned(which);
}
