// Memory of the card, which is this machine's.
//
// Each allocation lies between two pages that nobody may touch, its end as near to the second one as a card's alignment of 256
// bytes lets it; the bytes between are looked at when it is freed. New memory is full of NaN, freed memory is gone at once: what
// reads before anybody wrote, or after, shows.
#include "driver.h"

#include <cstring>
#include <map>

#include <sys/mman.h>

namespace driver {
namespace {

constexpr size_t PAGE = 4096, ALIGNED = 256;
constexpr unsigned char UNWRITTEN = 0xff, EDGE = 0xa5;

struct Allocation {
    char *map;
    size_t length, bytes;
};

std::mutex guard;
std::map<Address, Allocation> allocations;
std::map<void *, size_t> pinned;
size_t used = 0, most = 0;

size_t total() { return (size_t)setting("SCUMBLE_DRIVER_MEMORY_MIB", 4096) << 20; }

// What a card takes at least, and counts.
size_t counted(size_t bytes) { return (bytes + 511) / 512 * 512; }

const std::pair<const Address, Allocation> *holder(Address at) {
    auto after = allocations.upper_bound(at);
    if (after == allocations.begin()) return nullptr;
    auto &found = *--after;
    return at < found.first + found.second.bytes ? &found : nullptr;
}

Result take(Address *to, size_t bytes) {
    if (Result code = bound()) return code;
    if (!to || bytes == 0) return refuse(INVALID_VALUE, "memory of %zu bytes", bytes);
    std::lock_guard lock(guard);
    if (used + counted(bytes) > total()) {
        note("out of memory %zu of %zu used %zu", bytes, total(), used);
        return OUT_OF_MEMORY;
    }
    const size_t inside = (bytes + ALIGNED + PAGE - 1) / PAGE * PAGE, length = inside + 2 * PAGE;
    char *map = (char *)mmap(nullptr, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) return OUT_OF_MEMORY;
    if (mprotect(map + PAGE, inside, PROT_READ | PROT_WRITE) != 0) {
        munmap(map, length);
        return OUT_OF_MEMORY;
    }
    const Address end = (Address)map + PAGE + inside, at = (end - bytes) / ALIGNED * ALIGNED;
    memset(map + PAGE, EDGE, at - (Address)map - PAGE);
    memset((void *)at, UNWRITTEN, bytes);
    memset((void *)(at + bytes), EDGE, end - at - bytes);
    allocations[at] = {map, length, bytes};
    used += counted(bytes);
    if (used > most) most = used;
    *to = at;
    return SUCCESS;
}

Result give(Address at) {
    if (at == 0) return SUCCESS;
    std::lock_guard lock(guard);
    auto found = allocations.find(at);
    if (found == allocations.end()) return refuse(INVALID_VALUE, "%llx is freed and was not allocated", at);
    const auto [map, length, bytes] = found->second;
    bool whole = true;
    for (const char *p = map + PAGE; p < (char *)at; p++) whole &= (unsigned char)*p == EDGE;
    for (const char *p = (char *)at + bytes; p < map + length - PAGE; p++) whole &= (unsigned char)*p == EDGE;
    munmap(map, length);
    used -= counted(bytes);
    allocations.erase(found);
    return whole ? SUCCESS : refuse(INVALID_VALUE, "something wrote beside an allocation of %zu bytes", bytes);
}

// Copies where both sides that are the card's are its memory.
Result copy(Address to, Address from, size_t bytes, bool to_card, bool from_card) {
    if (Result code = bound()) return code;
    if (bytes == 0) return SUCCESS;
    if (to_card && !is_inside(to, bytes)) return refuse(INVALID_VALUE, "%zu bytes copied to what is no memory of the card", bytes);
    if (from_card && !is_inside(from, bytes))
        return refuse(INVALID_VALUE, "%zu bytes copied from what is no memory of the card", bytes);
    memmove((void *)to, (const void *)from, bytes);
    return SUCCESS;
}

struct Farewell {
    ~Farewell() { note("memory most %zu left %zu", most, used); }
} farewell;

} // namespace

bool is_inside(Address at, size_t bytes) {
    std::lock_guard lock(guard);
    const auto *found = holder(at);
    return found && at + bytes <= found->first + found->second.bytes;
}

void clear(Address at) {
    std::lock_guard lock(guard);
    if (const auto *found = holder(at)) memset((void *)at, 0, found->first + found->second.bytes - at);
}

} // namespace driver

using namespace driver;

static Result filled(Address at, unsigned char value, size_t count) {
    if (Result code = bound()) return code;
    if (count == 0) return SUCCESS;
    if (!is_inside(at, count)) return refuse(INVALID_VALUE, "%zu bytes set that are no memory of the card", count);
    memset((void *)at, value, count);
    return SUCCESS;
}

CARD Result cuMemAlloc_v2(Address *to, size_t bytes) { return take(to, bytes); }
CARD Result cuMemFree_v2(Address at) { return give(at); }

CARD Result cuMemAllocAsync(Address *to, size_t bytes, void *stream) {
    return is_stream(stream) ? take(to, bytes) : refuse(INVALID_HANDLE, "memory for no stream");
}
CARD Result cuMemFreeAsync(Address at, void *stream) {
    return is_stream(stream) ? give(at) : refuse(INVALID_HANDLE, "memory freed in no stream");
}

CARD Result cuMemGetInfo_v2(size_t *free, size_t *all) {
    if (Result code = bound()) return code;
    std::lock_guard lock(guard);
    *all = total(), *free = total() - used;
    return SUCCESS;
}
CARD Result cuDeviceTotalMem_v2(size_t *all, int) {
    *all = total();
    return SUCCESS;
}

CARD Result cuMemcpyHtoD_v2(Address to, const void *from, size_t n) { return copy(to, (Address)from, n, true, false); }
CARD Result cuMemcpyDtoH_v2(void *to, Address from, size_t n) { return copy((Address)to, from, n, false, true); }
CARD Result cuMemcpyDtoD_v2(Address to, Address from, size_t n) { return copy(to, from, n, true, true); }
CARD Result cuMemsetD8_v2(Address at, unsigned char value, size_t count) { return filled(at, value, count); }

CARD Result cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t n, void *stream) {
    return is_stream(stream) ? cuMemcpyHtoD_v2(to, from, n) : refuse(INVALID_HANDLE, "a copy in no stream");
}
CARD Result cuMemcpyDtoHAsync_v2(void *to, Address from, size_t n, void *stream) {
    return is_stream(stream) ? cuMemcpyDtoH_v2(to, from, n) : refuse(INVALID_HANDLE, "a copy in no stream");
}
CARD Result cuMemcpyDtoDAsync_v2(Address to, Address from, size_t n, void *stream) {
    return is_stream(stream) ? cuMemcpyDtoD_v2(to, from, n) : refuse(INVALID_HANDLE, "a copy in no stream");
}
CARD Result cuMemsetD8Async(Address at, unsigned char value, size_t count, void *stream) {
    return is_stream(stream) ? filled(at, value, count) : refuse(INVALID_HANDLE, "memory set in no stream");
}

// Memory of the machine that stays where it is. Of a card's it is none: kernels of this program never get it.
CARD Result cuMemHostAlloc(void **to, size_t bytes, unsigned) {
    if (Result code = bound()) return code;
    if (bytes == 0) return refuse(INVALID_VALUE, "pinned memory of no bytes");
    void *at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) return OUT_OF_MEMORY;
    std::lock_guard lock(guard);
    pinned[at] = bytes;
    *to = at;
    return SUCCESS;
}
CARD Result cuMemFreeHost(void *at) {
    std::lock_guard lock(guard);
    auto found = pinned.find(at);
    if (found == pinned.end()) return refuse(INVALID_VALUE, "pinned memory is freed that is none");
    munmap(at, found->second);
    pinned.erase(found);
    return SUCCESS;
}
