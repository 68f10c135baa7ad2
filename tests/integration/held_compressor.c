// A libdeflate that compresses nothing while the file of HELD_COMPRESSOR exists, for LD_PRELOAD: an image whose layers
// take as long as a test wants. Inputs that do not hold the text "held-layer" pass.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct libdeflate_compressor;
typedef size_t compress(struct libdeflate_compressor*, const void*, size_t, void*, size_t);

size_t libdeflate_gzip_compress(struct libdeflate_compressor* compressor, const void* in, size_t size, void* out,
                                size_t room) {
  const char* held = getenv("HELD_COMPRESSOR");
  if (held && memmem(in, size, "held-layer", 10))
    while (access(held, F_OK) == 0) usleep(10000);
  compress* real = (compress*)dlsym(RTLD_NEXT, __func__);
  return real(compressor, in, size, out, room);
}
