// The environment, the log, and refusals.
#include "driver.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace driver {

long long setting(const char *name, long long otherwise) {
    const char *value = getenv(name);
    return value && *value ? atoll(value) : otherwise;
}

bool is_listed(const char *name, const std::string &word) {
    const char *list = getenv(name);
    return list && ("," + std::string(list) + ",").find("," + word + ",") != std::string::npos;
}

// One write a line, so that lines of several threads do not mix and none is lost when the process is ended.
static void append(const char *format, va_list arguments) {
    static FILE *const log = [] {
        const char *path = getenv("SCUMBLE_DRIVER_LOG");
        return path && *path ? fopen(path, "a") : nullptr;
    }();
    if (!log) return;
    char line[512];
    const int length = vsnprintf(line, sizeof line - 1, format, arguments);
    size_t end = length < 0 ? 0 : length < (int)sizeof line - 1 ? (size_t)length : sizeof line - 2;
    line[end++] = '\n';
    fwrite(line, 1, end, log);
    fflush(log);
}

void note(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    append(format, arguments);
    va_end(arguments);
}

Result refuse(Result code, const char *format, ...) {
    char why[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    fprintf(stderr, "driver: %s (%d)\n", why, code);
    note("refused %d %s", code, why);
    return code;
}

} // namespace driver
