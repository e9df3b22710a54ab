#ifndef SYNCD_CMALLOC_SHIM_H
#define SYNCD_CMALLOC_SHIM_H

#include <malloc.h>

// Large freed memory is returned to the system at once, because it has separate pages. By default glibc raises the
// threshold to the size that was freed last, and keeps such memory from then on.
static inline void syncd_return_large_memory(int piece, int rest) {
#ifdef M_MMAP_THRESHOLD
    mallopt(M_MMAP_THRESHOLD, piece);
    mallopt(M_TRIM_THRESHOLD, rest);
#endif
}

// Returns the free pages in between, too.
static inline void syncd_trim_memory(void) {
#ifdef M_MMAP_THRESHOLD
    malloc_trim(0);
#endif
}

#endif
