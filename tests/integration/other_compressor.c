// A libdeflate that gives other bytes, as a newer version may, for LD_PRELOAD: its level 1 is 2.
#define _GNU_SOURCE
#include <dlfcn.h>

struct libdeflate_compressor;

struct libdeflate_compressor* libdeflate_alloc_compressor(int level) {
  struct libdeflate_compressor* (*real)(int) = (struct libdeflate_compressor * (*)(int)) dlsym(RTLD_NEXT, __func__);
  return real(level == 1 ? 2 : level);
}
