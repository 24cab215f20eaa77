// Counts heap allocations by the name of the thread that made them, for a process it is preloaded into (LD_PRELOAD).
//
// A test builds it with `clang -shared -fPIC -O2`, names a file in ALLOCATION_COUNTS, and maps or reads that file: an array
// of 64 slots of 32 bytes (name, padded with NUL to 16 bytes; count; bytes), filled from the start. Freeing is not
// counted: what is never allocated is never freed. The thread's name is asked of the kernel on every call, because
// threads get their names after they have begun to allocate; that is slow, and no matter in a test.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

enum { slot_count = 64 };

struct slot {
  char name[16];
  _Atomic uint64_t count;
  _Atomic uint64_t bytes;
};

static struct slot *_Atomic slots;
static atomic_flag claiming = ATOMIC_FLAG_INIT;

__attribute__((constructor)) static void open_counts(void) {
  const char *path = getenv("ALLOCATION_COUNTS");
  if (!path) return;
  int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) return;
  size_t size = slot_count * sizeof(struct slot);
  if (ftruncate(file, (off_t)size) == 0) {
    void *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) atomic_store(&slots, (struct slot *)mapped);
  }
  close(file);
}

static struct slot *find_slot(struct slot *all, const char *name) {
  for (int index = 0; index < slot_count; index++) {
    if (memcmp(all[index].name, name, 16) == 0) return &all[index];
    if (all[index].name[0]) continue;
    while (atomic_flag_test_and_set(&claiming)) {}
    if (!all[index].name[0]) memcpy(all[index].name, name, 16);
    atomic_flag_clear(&claiming);
    if (memcmp(all[index].name, name, 16) == 0) return &all[index];
  }
  return NULL;
}

static void count(size_t bytes) {
  struct slot *all = atomic_load(&slots);
  if (!all) return;
  char name[17] = {0};
  int saved = errno;
  prctl(PR_GET_NAME, name, 0, 0, 0);
  errno = saved;
  struct slot *slot = find_slot(all, name);
  if (!slot) return;
  atomic_fetch_add(&slot->count, 1);
  atomic_fetch_add(&slot->bytes, bytes);
}

void *malloc(size_t size) {
  count(size);
  return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
  count(number * size);
  return __libc_calloc(number, size);
}

void *realloc(void *old, size_t size) {
  count(size);
  return __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size) {
  count(size);
  return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  count(size);
  return __libc_memalign(alignment, size);
}

int posix_memalign(void **result, size_t alignment, size_t size) {
  count(size);
  void *memory = __libc_memalign(alignment, size);
  if (!memory) return ENOMEM;
  *result = memory;
  return 0;
}
