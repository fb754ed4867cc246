/* Preloaded into a service (LD_PRELOAD): its Python sees the wall clock shifted by as many seconds as the file
   CHAOS_CLOCK_FILE says, eight bytes that may change at any time. Only calls from the interpreter itself are
   shifted: a deadline that C++ hands to the kernel is by the kernel's clock, which stays right. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *shift_s;
static uintptr_t interpreter, low, high;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

static void find_real(void) {
    real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
}

static int find_interpreter(struct dl_phdr_info *info, size_t size, void *data) {
    uintptr_t first = UINTPTR_MAX, last = 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD) continue;
        uintptr_t begin = info->dlpi_addr + segment->p_vaddr, end = begin + segment->p_memsz;
        if (begin < first) first = begin;
        if (end > last) last = end;
    }
    if (interpreter < first || interpreter >= last) return 0;
    low = first, high = last;
    return 1;
}

__attribute__((constructor)) static void open_shift(void) {
    find_real();
    interpreter = (uintptr_t)dlsym(RTLD_DEFAULT, "Py_IsInitialized");
    const char *path = getenv("CHAOS_CLOCK_FILE");
    int file = interpreter && path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    dl_iterate_phdr(find_interpreter, NULL);
    void *mapped = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) shift_s = mapped;
}

static int64_t shift_for(void *caller) {
    uintptr_t address = (uintptr_t)caller;
    return shift_s && address >= low && address < high ? *shift_s : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (!real_clock_gettime) find_real(); /* another library's constructor was first */
    int failed = real_clock_gettime(clock, now);
    if (!failed && clock == CLOCK_REALTIME) now->tv_sec += shift_for(__builtin_return_address(0));
    return failed;
}

time_t time(time_t *where) {
    struct timespec now;
    if (!real_clock_gettime) find_real();
    real_clock_gettime(CLOCK_REALTIME, &now);
    time_t seconds = now.tv_sec + shift_for(__builtin_return_address(0));
    if (where) *where = seconds;
    return seconds;
}
